/** The JetStream configuration of a room's stream is frozen: a change would affect existing streams. */
import { expect, test } from "bun:test";
import { roomStreamConfig } from "../../src/wire/room-stream.ts";
import { expectGolden } from "../support/golden.ts";
import { vectors } from "../support/vectors.ts";

const room = { roomId: vectors.blob.room_id, subject: "room.general", replicas: 3, bytesMax: -1 } as const;

test("the stream configuration of a room is frozen", () => {
  expectGolden("room-stream.json", `${JSON.stringify(roomStreamConfig({ ...room, whenFull: "refuse" }), null, 2)}\n`);
});

test("only the byte limit and the behaviour at the limit depend on the settings", () => {
  const refuse = roomStreamConfig({ ...room, whenFull: "refuse" });
  const drop = roomStreamConfig({ ...room, bytesMax: 1_024, whenFull: "drop_oldest" });
  expect(drop).toEqual({ ...refuse, max_bytes: 1_024, discard: "old" });
});
