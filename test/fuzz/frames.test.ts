/** Frames whose bytes a malicious server or member changed: nothing throws, and no changed frame is accepted. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { openFrame, sealFrame } from "../../src/client/crypto/frames.ts";
import { generateIdentity } from "../../src/client/crypto/identity.ts";
import { newRoomKey } from "../../src/client/crypto/keys.ts";
import { decodeFrame, encodeFrame, frameBytesMax, isDropped } from "../../src/wire/frame.ts";
import { newUlid } from "../../src/wire/ulid.ts";
import { aFrame, aMutation } from "../support/frames.ts";

const runs = 4_000;
const roomId = newUlid();
const sender = await generateIdentity();
const roomKey = newRoomKey();
const policy = { encrypt: true, persist: true, sign_msgs: true };
const room = { roomId, subject: "room.fuzz", policy, epoch: 1, roomKey };
const opening = { roomId, policy, roomKey, signPub: sender.signPubHex };

describe("decoding", () => {
  test("arbitrary bytes gives a reason", () => {
    const anything = fc.oneof(
      fc.uint8Array({ maxLength: 2_000 }),
      fc.json().map((text) => new TextEncoder().encode(text)),
      fc.string({ unit: "binary" }).map((text) => new TextEncoder().encode(text)),
    );
    fc.assert(
      fc.property(anything, (bytes) => expect(isDropped(decodeFrame(bytes))).toBe(true)),
      { numRuns: runs },
    );
  });

  test("large repetitive input gives a reason in time", () => {
    const piece = fc.constantFrom("{", "[", '"', '{"t":0,', "A", ".", "a.", '\\"', "0", '"p":"', " ", "\u00ff");
    fc.assert(
      fc.property(fc.array(piece, { minLength: 1, maxLength: 3 }), fc.boolean(), (pieces, isHeaded) => {
        const repeated = pieces.join("").repeat(frameBytesMax);
        const text = `${isHeaded ? '{"t":0,"s":"' : ""}${repeated}`.slice(0, frameBytesMax / 2);
        expect(isDropped(decodeFrame(new TextEncoder().encode(text)))).toBe(true);
      }),
      { numRuns: 60 },
    );
  });
});

describe("opening", () => {
  test("a sealed and signed frame gives what was sealed, or nothing once a byte has changed", async () => {
    const payload = new TextEncoder().encode("what was said");
    const whole = await sealFrame({ id: newUlid(), payload, re: newUlid(), thr: newUlid() }, room, sender);
    let decoded = 0;
    const property = fc.asyncProperty(fc.array(aMutation, { minLength: 1, maxLength: 3 }), async (changes) => {
      const bytes = changes.reduce((before, change) => change(before), whole);
      const frame = decodeFrame(bytes);
      if (isDropped(frame)) return;
      decoded += 1;
      const opened = await openFrame(frame, opening);
      if (Bun.deepEquals(bytes, whole)) expect(opened).toMatchObject({ payload, verified: true });
      else expect(isDropped(opened)).toBe(true);
    });
    await fc.assert(property, { numRuns: runs });
    // Enough inputs must decode; otherwise only the parser was tested.
    expect(decoded).toBeGreaterThan(runs / 100);
  });

  test("any frame, in any room, with any key gives a frame or a reason", async () => {
    const key = fc.option(fc.uint8Array({ minLength: 0, maxLength: 40 }), { nil: null });
    const rules = fc.record({ encrypt: fc.boolean(), persist: fc.boolean(), sign_msgs: fc.boolean() });
    const signPub = fc.oneof(fc.constant(sender.signPubHex), fc.string(), fc.constant("0".repeat(64)));
    const property = fc.asyncProperty(aFrame, key, rules, signPub, async (given, theirKey, theirRules, pub) => {
      const frame = decodeFrame(encodeFrame(given));
      if (isDropped(frame)) throw new Error("a frame was dropped");
      const opened = await openFrame(frame, { roomId, policy: theirRules, roomKey: theirKey, signPub: pub });
      // These inputs have no valid seal or signature: only what a room allows in the clear and unsigned is delivered.
      const isPlain = !theirRules.encrypt && given.n === undefined && given.sig === undefined;
      expect(isDropped(opened)).toBe(!isPlain || theirRules.sign_msgs);
    });
    await fc.assert(property, { numRuns: runs });
  });
});
