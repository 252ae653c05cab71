/** Parsing of notices. Peers can make JetStream send arbitrary bytes, so anything but the exact form is ignored. */
import { expect, test } from "bun:test";
import { ulid as newUlid } from "ulid";
import { noticeIn } from "../../src/client/transport/notice.ts";
import { bytesOf } from "../../src/wire/encoding.ts";

const kindOf = (body: string, subject = "unibus.user.E.joined") => noticeIn({ subject, data: bytesOf(body) });

test("a notice is exactly {} or one room", () => {
  const roomId = newUlid();
  expect(kindOf("{}")).toEqual({ kind: "joined", roomId: null });
  expect(kindOf(JSON.stringify({ room_id: roomId }), "unibus.user.E.rekey_pending")).toEqual({
    kind: "rekey_pending",
    roomId,
  });
});

test("anything else that JetStream or a peer could send is not a notice", () => {
  const roomId = newUlid();
  const bodies = ["", "{", "null", "[]", "{ }", "{}\n", " {}", "x", '{"stream":"UNIBUS_X","seq":1}', '{"room_id":""}'];
  const rooms = [`{"room_id": "${roomId}"}`, `{"room_id":"${roomId.toLowerCase()}"}`, `{"room_id":"${roomId}","a":1}`];
  for (const body of [...bodies, ...rooms, `{"room_id":"${roomId}"}`.repeat(2), "x".repeat(100_000)]) {
    expect([body.slice(0, 60), kindOf(body)]).toEqual([body.slice(0, 60), null]);
  }
  for (const subject of ["unibus.user.E.a.b", "unibus.user.E.", "unibus.user..joined", "room.a", "unibus.user.E.X"]) {
    expect([subject, kindOf("{}", subject)]).toEqual([subject, null]);
  }
});
