-- Times are milliseconds since the epoch, keys are lowercase hex, booleans are 0 or 1.

CREATE TABLE users (
  sign_pub TEXT PRIMARY KEY,
  endpoint TEXT NOT NULL UNIQUE,
  kex_pub TEXT,
  kex_sig TEXT,
  handle TEXT NOT NULL,
  role TEXT NOT NULL,
  status TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  revoked_at INTEGER,
  revision INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A single row: the active admins as a JSON array of keys.
CREATE TABLE roster (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  admins TEXT NOT NULL,
  revision INTEGER NOT NULL
) STRICT;

INSERT INTO roster (id, admins, revision) VALUES (1, '[]', 0);

CREATE TABLE invites (
  id TEXT PRIMARY KEY,
  token_hash TEXT NOT NULL,
  handle TEXT NOT NULL,
  role TEXT NOT NULL,
  expires_at INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  used INTEGER NOT NULL,
  used_at INTEGER,
  used_sign_pub TEXT,
  used_kex_pub TEXT,
  completed_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX invites_pending ON invites (created_at, id) WHERE used = 0;

-- A deleted room remains as a tombstone. It holds its subject until it is purged.
CREATE TABLE rooms (
  room_id TEXT PRIMARY KEY,
  subject TEXT NOT NULL,
  claims_subject INTEGER NOT NULL,
  encrypt INTEGER NOT NULL,
  persist INTEGER NOT NULL,
  sign_msgs INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  key_check TEXT NOT NULL,
  version INTEGER NOT NULL,
  statement_hash TEXT NOT NULL,
  creator TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  deleted_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX rooms_subject ON rooms (subject) WHERE claims_subject = 1;
CREATE INDEX rooms_creator ON rooms (creator) WHERE deleted_at IS NULL;

-- One row for each membership period of a member. until_epoch is 0 while it is open.
CREATE TABLE stays (
  room_id TEXT NOT NULL REFERENCES rooms (room_id),
  endpoint TEXT NOT NULL,
  since_epoch INTEGER NOT NULL,
  until_epoch INTEGER NOT NULL,
  sign_pub TEXT NOT NULL,
  kex_pub TEXT NOT NULL,
  kex_sig TEXT NOT NULL,
  role TEXT NOT NULL,
  handle TEXT NOT NULL,
  left_at INTEGER,
  devices TEXT NOT NULL,
  PRIMARY KEY (room_id, endpoint, since_epoch)
) STRICT, WITHOUT ROWID;

CREATE INDEX stays_current ON stays (endpoint, room_id) WHERE until_epoch = 0 AND left_at IS NULL;
CREATE INDEX stays_leaving ON stays (room_id) WHERE until_epoch = 0 AND left_at IS NOT NULL;

CREATE TABLE sealed_keys (
  room_id TEXT NOT NULL REFERENCES rooms (room_id),
  endpoint TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  sealed_key TEXT NOT NULL,
  PRIMARY KEY (room_id, endpoint, epoch)
) STRICT, WITHOUT ROWID;

CREATE TABLE statements (
  room_id TEXT NOT NULL REFERENCES rooms (room_id),
  version INTEGER NOT NULL,
  text TEXT NOT NULL,
  signed_by TEXT NOT NULL,
  sig TEXT NOT NULL,
  PRIMARY KEY (room_id, version)
) STRICT, WITHOUT ROWID;
