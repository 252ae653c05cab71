-- A stay gives access on the data plane once its member has accepted it. Existing stays count as accepted.
ALTER TABLE stays ADD COLUMN accepted_at INTEGER;
-- The endpoint of the signer of the statement that began the stay; NULL if that was not recorded.
ALTER TABLE stays ADD COLUMN added_by TEXT;

UPDATE stays SET accepted_at = (SELECT created_at FROM rooms WHERE rooms.room_id = stays.room_id);

CREATE INDEX stays_accepted ON stays (endpoint, room_id)
  WHERE until_epoch = 0 AND left_at IS NULL AND accepted_at IS NOT NULL;
CREATE INDEX stays_unaccepted ON stays (endpoint, added_by)
  WHERE until_epoch = 0 AND left_at IS NULL AND accepted_at IS NULL;
