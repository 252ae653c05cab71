-- The way back of a bus restored from a backup. A single row: when it was opened, and when it closes.
CREATE TABLE way_back (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  opened_at INTEGER NOT NULL,
  closes_at INTEGER NOT NULL
) STRICT;

-- The head of each room when the way back was opened.
CREATE TABLE restored_heads (
  room_id TEXT PRIMARY KEY,
  version INTEGER NOT NULL,
  hash TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Stays that their members left after the backup was taken, and that have no row in stays.
CREATE TABLE denied_stays (
  room_id TEXT NOT NULL,
  endpoint TEXT NOT NULL,
  since_epoch INTEGER NOT NULL,
  left_at INTEGER NOT NULL,
  PRIMARY KEY (room_id, endpoint, since_epoch)
) STRICT, WITHOUT ROWID;

CREATE TABLE contested_chains (
  room_id TEXT NOT NULL,
  hash TEXT NOT NULL,
  version INTEGER NOT NULL,
  offered_by TEXT NOT NULL,
  offered_at INTEGER NOT NULL,
  PRIMARY KEY (room_id, hash)
) STRICT, WITHOUT ROWID;

-- The chain that an admin chose for a room.
CREATE TABLE taken_chains (
  room_id TEXT PRIMARY KEY,
  hash TEXT NOT NULL
) STRICT, WITHOUT ROWID;
