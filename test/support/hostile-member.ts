/** Frames that a member with all keys can sign, designed to break readers. */

import { bytesOf } from "../../src/wire/encoding.ts";
import { contentKinds, encodeEnvelope } from "../../src/wire/envelope.ts";
import { frameBytesMax, frameTypes } from "../../src/wire/frame.ts";
import { newUlid } from "../../src/wire/ulid.ts";
import { type Forgery, type HostileScene, rewritten } from "./hostile-scene.ts";

const ref = (sz: number) => ({ h: "ab".repeat(32), n: "A".repeat(32), sz });
const farAhead = 2 ** 31 - 1;
const parts = { size: 2n ** 64n - 1n, count: 2 ** 32 - 1 };

/** Texts that terminals, parsers and reducers handle badly. */
const texts: readonly string[] = [
  "",
  "\0",
  "\x1b]0;owned\x07\x1b[2J\x1b[31m",
  "\u202eesrever\u2066\u200b\ufeff",
  "\r\n\r\nHTTP/1.1 200 OK\r\n",
  '{"__proto__":{"polluted":true},"constructor":null}',
  "[".repeat(20_000),
  "a\n".repeat(50_000),
  "\ud83d\ude00\u200d".repeat(5_000),
  "%s%s%n {jndi:ldap://127.0.0.1/} `id` $(id) '; DROP TABLE rooms; --",
];

/** Payloads that are not text, or that begin like something else. */
const bytes: readonly Uint8Array[] = [
  Uint8Array.of(0xff, 0xfe, 0xfd),
  Uint8Array.of(0xc0, 0x80),
  Uint8Array.of(0xed, 0xa0, 0x80),
  Uint8Array.of(0x00, 0x75, 0x62, 0x01),
  Uint8Array.of(0x00, 0x75, 0x62, 0x01, 0xff, 0xff),
  Uint8Array.of(0x00, 0x75, 0x62, 0x01, 0x00, 0x05, 0x81, 0x00, 0x02, 0x00, 0x00),
  Uint8Array.of(0x00, 0x75, 0x62, 0x01, 0x00, 0x00),
  new Uint8Array(frameBytesMax / 2),
];

/**
 * Returns hostile frames signed by `by`, a member, one of each kind.
 * Shape: `knownId` is the id of an honest message of another sender.
 */
export async function hostileFrames(at: HostileScene, by: Forgery["by"], knownId: string): Promise<Uint8Array[]> {
  const roomKey = at.mine.state.state.policy.encrypt ? await at.key() : null;
  const make = (more: Partial<Forgery>) => at.frame({ by, roomKey, ...more });
  const [own, self] = [newUlid(), newUlid()];
  const drafts: Partial<Forgery>[] = [
    ...texts.map((text) => ({ text })),
    ...bytes.map((payload) => ({ payload })),
    // Every kind of message, with a body that it may not have, with and without a target.
    ...contentKinds.flatMap((kind) => [
      { payload: encodeEnvelope({ kind }, Uint8Array.of(0xff, 0x1b, 0x5b)) },
      { payload: encodeEnvelope({ kind, hops: 8 }, bytesOf("\u202e\x1b[2J".repeat(1_000))), re: knownId },
    ]),
    { payload: encodeEnvelope({ kind: "file", fileName: "%s; rm -rf $(id) `id`\u200b", parts }, bytesOf("")) },
    ...[2, 3, 1_000, farAhead - 1, farAhead].map((epoch) => ({ epoch })),
    // Every frame type, with and without its optional references.
    ...Object.values(frameTypes).flatMap((t) => [
      { t },
      { t, text: "" },
      { t, re: knownId },
      { t, re: newUlid(), thr: newUlid() },
      { t, b: ref(0) },
      { t, b: ref(16_777_216), re: knownId },
    ]),
    { t: frameTypes.REACT, text: "\u{1f600}".repeat(10_000), re: knownId },
    { t: frameTypes.REACT, payload: Uint8Array.of(0xff), re: knownId },
    // Ids: the smallest and the largest time, another frame's, its own, a cycle.
    { id: "0".repeat(26) },
    { id: `7${"Z".repeat(25)}` },
    { id: knownId },
    { id: self, re: self, thr: self },
    { id: own, re: self },
    { id: newUlid(), re: own, thr: "0".repeat(26) },
    { t: frameTypes.REACT, id: newUlid(), re: `7${"Z".repeat(25)}` },
    // Frames of other rooms and subjects.
    { subject: "room.other" },
    { roomId: newUlid() },
    { policy: { encrypt: false, persist: true, sign_msgs: true }, roomKey: null },
    { policy: { encrypt: true, persist: true, sign_msgs: true }, roomKey: new Uint8Array(32).fill(7) },
    { policy: { encrypt: false, persist: true, sign_msgs: false }, roomKey: null },
  ];
  const frames = await Promise.all(drafts.map(make));
  const thread = await Promise.all(
    Array.from({ length: 100 }, (_, i) => make({ re: knownId, thr: knownId, text: `thread ${i}` })),
  );
  const good = await make({ text: "good" });
  const rewrites = [
    { e: 7 },
    { t: 9 },
    { id: "lower" },
    { sig: undefined },
    { p: "!" },
    { s: "a" },
    { x: 1 },
    { b: {} },
  ];
  const junk = ["", "{}", "null", "[]", "\0", '{"t":0', "+ACK", '{"stream":"X","seq":1}', '{"error":{"code":503}}'];
  return [
    ...frames,
    ...thread,
    ...rewrites.map((fields) => rewritten(good, fields)),
    ...junk.map(bytesOf),
    good.subarray(0, good.length - 1),
    good,
    good,
    bytesOf(`${new TextDecoder().decode(good)} `),
  ];
}
