CREATE TABLE contested_chains (
  room_id TEXT NOT NULL,
  hash TEXT NOT NULL,
  version INTEGER NOT NULL,
  offered_by TEXT NOT NULL,
  offered_at INTEGER NOT NULL,
  PRIMARY KEY (room_id, hash)
) STRICT, WITHOUT ROWID;

CREATE TABLE denied_stays (
  room_id TEXT NOT NULL,
  endpoint TEXT NOT NULL,
  since_epoch INTEGER NOT NULL,
  left_at INTEGER NOT NULL,
  PRIMARY KEY (room_id, endpoint, since_epoch)
) STRICT, WITHOUT ROWID;

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

CREATE TABLE migrations (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  applied_at INTEGER NOT NULL
) STRICT;

CREATE TABLE restored_heads (
  room_id TEXT PRIMARY KEY,
  version INTEGER NOT NULL,
  hash TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER room_charged AFTER INSERT ON rooms BEGIN
  INSERT INTO row_charges (payer, room_id, bytes) VALUES (new.creator, new.room_id, 512)
    ON CONFLICT (payer, room_id) DO UPDATE SET bytes = bytes + excluded.bytes;
END;

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
, revision INTEGER NOT NULL DEFAULT 1) STRICT, WITHOUT ROWID;

CREATE INDEX rooms_creator ON rooms (creator) WHERE deleted_at IS NULL;

CREATE UNIQUE INDEX rooms_subject ON rooms (subject) WHERE claims_subject = 1;

CREATE TABLE roster (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  admins TEXT NOT NULL,
  revision INTEGER NOT NULL
) STRICT;

CREATE TRIGGER charge_gone AFTER UPDATE ON row_charges WHEN new.bytes = 0 BEGIN
  DELETE FROM row_charges WHERE payer = new.payer AND room_id = new.room_id;
END;

CREATE TABLE row_charges (
  payer TEXT NOT NULL,
  room_id TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  PRIMARY KEY (payer, room_id)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER key_charged AFTER INSERT ON sealed_keys BEGIN
  INSERT INTO row_charges (payer, room_id, bytes) VALUES (new.charged_to, new.room_id, 256)
    ON CONFLICT (payer, room_id) DO UPDATE SET bytes = bytes + excluded.bytes;
END;

CREATE TRIGGER key_given_back AFTER DELETE ON sealed_keys BEGIN
  UPDATE row_charges SET bytes = bytes - 256 WHERE payer = old.charged_to AND room_id = old.room_id;
END;

CREATE TRIGGER key_recharged AFTER UPDATE OF charged_to ON sealed_keys WHEN new.charged_to <> old.charged_to BEGIN
  UPDATE row_charges SET bytes = bytes - 256 WHERE payer = old.charged_to AND room_id = old.room_id;
  INSERT INTO row_charges (payer, room_id, bytes) VALUES (new.charged_to, new.room_id, 256)
    ON CONFLICT (payer, room_id) DO UPDATE SET bytes = bytes + excluded.bytes;
END;

CREATE TABLE sealed_keys (
  room_id TEXT NOT NULL REFERENCES rooms (room_id),
  endpoint TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  sealed_key TEXT NOT NULL, charged_to TEXT NOT NULL DEFAULT '',
  PRIMARY KEY (room_id, endpoint, epoch)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER statement_charged AFTER INSERT ON statements BEGIN
  INSERT INTO row_charges (payer, room_id, bytes) VALUES (new.charged_to, new.room_id, 256 + length(new.text))
    ON CONFLICT (payer, room_id) DO UPDATE SET bytes = bytes + excluded.bytes;
END;

CREATE TRIGGER statement_given_back AFTER DELETE ON statements BEGIN
  UPDATE row_charges SET bytes = bytes - 256 - length(old.text) WHERE payer = old.charged_to AND room_id = old.room_id;
END;

CREATE TRIGGER statement_recharged AFTER UPDATE OF text, charged_to ON statements
WHEN new.charged_to <> old.charged_to OR length(new.text) <> length(old.text) BEGIN
  UPDATE row_charges SET bytes = bytes - 256 - length(old.text) WHERE payer = old.charged_to AND room_id = old.room_id;
  INSERT INTO row_charges (payer, room_id, bytes) VALUES (new.charged_to, new.room_id, 256 + length(new.text))
    ON CONFLICT (payer, room_id) DO UPDATE SET bytes = bytes + excluded.bytes;
END;

CREATE TABLE statements (
  room_id TEXT NOT NULL REFERENCES rooms (room_id),
  version INTEGER NOT NULL,
  text TEXT NOT NULL,
  signed_by TEXT NOT NULL,
  sig TEXT NOT NULL, charged_to TEXT NOT NULL DEFAULT '',
  PRIMARY KEY (room_id, version)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER stay_charged AFTER INSERT ON stays BEGIN
  INSERT INTO row_charges (payer, room_id, bytes) VALUES
    (coalesce(new.added_by, (SELECT creator FROM rooms WHERE room_id = new.room_id)), new.room_id, 512)
    ON CONFLICT (payer, room_id) DO UPDATE SET bytes = bytes + excluded.bytes;
END;

CREATE TRIGGER stay_given_back AFTER DELETE ON stays BEGIN
  UPDATE row_charges SET bytes = bytes - 512 WHERE room_id = old.room_id
    AND payer = coalesce(old.added_by, (SELECT creator FROM rooms WHERE room_id = old.room_id));
END;

CREATE TRIGGER stay_recharged AFTER UPDATE OF added_by ON stays WHEN new.added_by IS NOT old.added_by BEGIN
  UPDATE row_charges SET bytes = bytes - 512 WHERE room_id = old.room_id
    AND payer = coalesce(old.added_by, (SELECT creator FROM rooms WHERE room_id = old.room_id));
  INSERT INTO row_charges (payer, room_id, bytes) VALUES
    (coalesce(new.added_by, (SELECT creator FROM rooms WHERE room_id = new.room_id)), new.room_id, 512)
    ON CONFLICT (payer, room_id) DO UPDATE SET bytes = bytes + excluded.bytes;
END;

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
  devices TEXT NOT NULL, accepted_at INTEGER, added_by TEXT,
  PRIMARY KEY (room_id, endpoint, since_epoch)
) STRICT, WITHOUT ROWID;

CREATE INDEX stays_accepted ON stays (endpoint, room_id)
  WHERE until_epoch = 0 AND left_at IS NULL AND accepted_at IS NOT NULL;

CREATE INDEX stays_current ON stays (endpoint, room_id) WHERE until_epoch = 0 AND left_at IS NULL;

CREATE INDEX stays_leaving ON stays (room_id) WHERE until_epoch = 0 AND left_at IS NOT NULL;

CREATE INDEX stays_unaccepted ON stays (endpoint, added_by)
  WHERE until_epoch = 0 AND left_at IS NULL AND accepted_at IS NULL;

CREATE TABLE taken_chains (
  room_id TEXT PRIMARY KEY,
  hash TEXT NOT NULL
) STRICT, WITHOUT ROWID;

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
, look1 TEXT NOT NULL DEFAULT '', look2 TEXT NOT NULL DEFAULT '', looks_version TEXT NOT NULL DEFAULT '') STRICT, WITHOUT ROWID;

CREATE INDEX users_by_look1 ON users (look1);

CREATE INDEX users_by_look2 ON users (look2);

CREATE INDEX users_by_looks_version ON users (looks_version);

CREATE TABLE way_back (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  opened_at INTEGER NOT NULL,
  closes_at INTEGER NOT NULL
) STRICT;
