-- The payer of a statement or sealed key: the endpoint of the signer of the statement that added it. A stay is paid for
-- by its adder, or by the room's creator if the adder is unknown. The creator also pays for the room itself, as long as
-- its tombstone remains.
ALTER TABLE statements ADD COLUMN charged_to TEXT NOT NULL DEFAULT '';
ALTER TABLE sealed_keys ADD COLUMN charged_to TEXT NOT NULL DEFAULT '';

UPDATE statements SET charged_to = coalesce(
  (SELECT endpoint FROM users WHERE users.sign_pub = statements.signed_by),
  (SELECT endpoint FROM stays WHERE stays.room_id = statements.room_id AND stays.sign_pub = statements.signed_by LIMIT 1),
  (SELECT creator FROM rooms WHERE rooms.room_id = statements.room_id)
);

-- Existing keys are charged to the signer of the statement that began their epoch. The epoch is line 7 of a statement.
CREATE TEMP TABLE epochs_begun (
  room_id TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  charged_to TEXT NOT NULL,
  PRIMARY KEY (room_id, epoch)
) STRICT, WITHOUT ROWID;

INSERT OR IGNORE INTO epochs_begun (room_id, epoch, charged_to)
  SELECT room_id, CAST(json_extract(lines, '$[6]') AS INTEGER), charged_to
  FROM (
    SELECT room_id, version, charged_to, '["' || replace(text, char(10), '","') || '"]' AS lines FROM statements
  )
  WHERE json_valid(lines) AND json_extract(lines, '$[6]') IS NOT NULL
  ORDER BY room_id, version;

UPDATE sealed_keys SET charged_to = coalesce(
  (SELECT begun.charged_to FROM epochs_begun AS begun
   WHERE begun.room_id = sealed_keys.room_id AND begun.epoch = sealed_keys.epoch),
  (SELECT creator FROM rooms WHERE rooms.room_id = sealed_keys.room_id)
);

DROP TABLE epochs_begun;

-- The bytes that each payer is charged for each room. Only the triggers below change them.
CREATE TABLE row_charges (
  payer TEXT NOT NULL,
  room_id TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  PRIMARY KEY (payer, room_id)
) STRICT, WITHOUT ROWID;

INSERT INTO row_charges (payer, room_id, bytes)
  SELECT payer, room_id, sum(bytes) FROM (
    SELECT creator AS payer, room_id, 512 AS bytes FROM rooms
    UNION ALL
    SELECT coalesce(stays.added_by, rooms.creator), stays.room_id, 512
      FROM stays JOIN rooms ON rooms.room_id = stays.room_id
    UNION ALL
    SELECT charged_to, room_id, 256 FROM sealed_keys
    UNION ALL
    SELECT charged_to, room_id, 256 + length(text) FROM statements
  ) GROUP BY payer, room_id;

CREATE TRIGGER room_charged AFTER INSERT ON rooms BEGIN
  INSERT INTO row_charges (payer, room_id, bytes) VALUES (new.creator, new.room_id, 512)
    ON CONFLICT (payer, room_id) DO UPDATE SET bytes = bytes + excluded.bytes;
END;

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

CREATE TRIGGER charge_gone AFTER UPDATE ON row_charges WHEN new.bytes = 0 BEGIN
  DELETE FROM row_charges WHERE payer = new.payer AND room_id = new.room_id;
END;
