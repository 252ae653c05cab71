-- The looks of a handle, an index for finding users by it. Empty until a version with looks computes them.

ALTER TABLE users ADD COLUMN look1 TEXT NOT NULL DEFAULT '';
ALTER TABLE users ADD COLUMN look2 TEXT NOT NULL DEFAULT '';
ALTER TABLE users ADD COLUMN looks_version TEXT NOT NULL DEFAULT '';

CREATE INDEX users_by_look1 ON users (look1);
CREATE INDEX users_by_look2 ON users (look2);
CREATE INDEX users_by_looks_version ON users (looks_version);
