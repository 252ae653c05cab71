-- What decides who is in a room is compared by one number: it grows with each version, departure and restoration.
ALTER TABLE rooms ADD COLUMN revision INTEGER NOT NULL DEFAULT 1;
UPDATE rooms SET revision = version;
