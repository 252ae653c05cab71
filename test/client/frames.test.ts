/**
 * Sealing and opening of frames: encryption, signatures, size limits, tampering, blobs and ULIDs. Signature checks run
 * on each platform's implementation, which must agree.
 */
import { describe, expect, test } from "bun:test";
import { isReduced, verifies } from "../../src/client/crypto/ed25519.ts";
import { openBlob, openFrame, openFrames, sealBlob, sealFrame } from "../../src/client/crypto/frames.ts";
import { generateIdentity } from "../../src/client/crypto/identity.ts";
import { newRoomKey } from "../../src/client/crypto/keys.ts";
import { sealBytes } from "../../src/client/crypto/sealing.ts";
import { SoundKeys } from "../../src/client/crypto/sound-keys.ts";
import * as browser from "../../src/client/crypto/verify-browser.ts";
import * as node from "../../src/client/crypto/verify-node.ts";
import { blobBytesMax } from "../../src/wire/api.ts";
import { bytesOf, toBase64, toHex } from "../../src/wire/encoding.ts";
import { UnibusError } from "../../src/wire/errors.ts";
import {
  type DropReason,
  decodeFrame,
  type Frame,
  frameBytesMax,
  frameTypes,
  isDropped,
} from "../../src/wire/frame.ts";
import { isUlid } from "../../src/wire/names.ts";
import type { Policy } from "../../src/wire/statement.ts";
import { newUlid, ulidTimeMs } from "../../src/wire/ulid.ts";
import { looseSignKeys, smallOrderSignKeys } from "../attacks/small-order-keys.ts";
import { signNow } from "../support/keys-now.ts";
import { oddSignaturesOf } from "../support/odd-signatures.ts";
import { at, bytes, vectors } from "../support/vectors.ts";

const sender = await generateIdentity();
const other = await generateIdentity();
const [roomKey, otherKey] = [newRoomKey(), newRoomKey()];
const roomId = newUlid();
const payload = bytesOf("hello, room 👋");
const digits = (text: string): Policy => ({
  encrypt: text[0] === "1",
  persist: true,
  sign_msgs: text[1] === "1",
});
const both = digits("11");
const roomOf = (policy: Policy) => ({ roomId, subject: "room.x", policy, epoch: 3, roomKey });
const openingOf = (policy: Policy) => ({ roomId, policy, roomKey, signPub: sender.signPubHex });

/** The sealed frame, decoded from its bytes. */
async function sealed(policy: Policy, draft: Partial<Parameters<typeof sealFrame>[0]> = {}): Promise<Frame> {
  const frame = decodeFrame(await sealFrame({ id: newUlid(), payload, ...draft }, roomOf(policy), sender));
  if (isDropped(frame)) throw new Error(`a sealed frame is dropped: ${frame.drop}`);
  return frame;
}

const reasonOf = (opened: object): DropReason | null => (isDropped(opened) ? opened.drop : null);

describe("a frame", () => {
  test.each(["00", "01", "10", "11"])("is sealed and signed as the room requires: %s", async (policy) => {
    const rules = digits(policy);
    const frame = await sealed(rules);
    expect([frame.n !== undefined, frame.sig !== undefined]).toEqual([rules.encrypt, rules.sign_msgs]);
    expect(frame.p === toBase64(payload)).toBe(!rules.encrypt);
    expect(frame).toMatchObject({ t: 0, s: "room.x", from: sender.endpoint, e: 3 });
    expect(await openFrame(frame, openingOf(rules))).toEqual({ frame, payload, verified: rules.sign_msgs });
  });

  test.each(["00", "01", "10", "11"])("can be empty: %s", async (policy) => {
    const frame = await sealed(digits(policy), { payload: undefined, t: frameTypes.ACK });
    expect(frame.p === undefined).toBe(policy[0] === "0");
    const nothing = new Uint8Array();
    expect(await openFrame(frame, openingOf(digits(policy)))).toMatchObject({ payload: nothing });
  });

  test("is sealed with a fresh nonce each time", async () => {
    const id = newUlid();
    const frames = await Promise.all(Array.from({ length: 50 }, () => sealed(both, { id })));
    expect(new Set(frames.map(({ n }) => n)).size).toBe(50);
    expect(new Set(frames.map(({ p }) => p)).size).toBe(50);
  });

  test("with an optional signature is verified all the same", async () => {
    const signed = await sealed(digits("01"));
    expect(await openFrame(signed, openingOf(digits("00")))).toMatchObject({ verified: true });
    const forged = { ...signed, sig: (await sealed(digits("01"))).sig };
    expect(reasonOf(await openFrame(forged, openingOf(digits("00"))))).toBe("bad_signature");
  });

  test("is never sent in the clear by mistake, and never signed if it is invalid", async () => {
    const room = { ...roomOf(both), roomKey: null };
    await expect(sealFrame({ id: newUlid(), payload }, room, sender)).rejects.toThrow("needs a room key");
    const short = { ...roomOf(both), roomKey: new Uint8Array(31) };
    await expect(sealFrame({ id: newUlid(), payload }, short, sender)).rejects.toThrow();
    await expect(sealFrame({ id: "1", payload }, roomOf(both), sender)).rejects.toThrow("not a frame");
  });

  test("of more than 1 MiB is refused, one of exactly 1 MiB opens", async () => {
    const rest = (await sealFrame({ id: newUlid() }, roomOf(both), sender)).length;
    const most = Math.floor((frameBytesMax - rest) / 4) * 3;
    const frame = await sealed(both, { payload: new Uint8Array(most) });
    expect(await openFrame(frame, openingOf(both))).toMatchObject({ payload: new Uint8Array(most) });
    await expect(sealed(both, { payload: new Uint8Array(most + 4) })).rejects.toThrow(UnibusError);
  });

  test("of the vectors opens", async () => {
    for (const given of vectors.frame) {
      const frame = decodeFrame(bytesOf(given.wire)) as Frame;
      const isSealed = given.room_key !== undefined;
      const policy = digits(isSealed ? "11" : "01");
      const key = isSealed ? bytes(given.room_key) : null;
      const opening = { roomId: given.room_id, policy, roomKey: key, signPub: given.sign_pub };
      expect(await openFrame(frame, opening)).toMatchObject({ payload: bytesOf(given.plaintext), verified: true });
    }
  });
});

const places = () => ({ thr: newUlid(), re: newUlid() });
const whole = await sealed(both, { ...places(), b: { h: "0".repeat(64), n: "A".repeat(32), sz: 20 } });
const donor = await sealed(both, { ...places(), b: { h: "1".repeat(64), n: "B".repeat(32), sz: 21 } });
const plain = await sealed(digits("00"));
const sealedOnly = await sealed(digits("10"), { ...places(), b: donor.b });

describe("a frame that was tampered with", () => {
  test.each(["t", "s", "from", "id", "e", "n", "p", "b", "thr", "re", "sig"] as const)(
    "in %s is dropped",
    async (key) => {
      const theirs = { ...donor, t: 6, s: "room.y", from: other.endpoint, e: 4 }[key];
      const changed = { ...whole, [key]: theirs } as Frame;
      expect(changed).not.toEqual(whole);
      expect(reasonOf(await openFrame(changed, openingOf(both)))).toBe("bad_signature");
      if (key === "sig") return;
      // Without a signature, only the encryption protects its integrity.
      const unsigned = { ...sealedOnly, [key]: key === "b" ? whole.b : theirs } as Frame;
      expect(reasonOf(await openFrame(unsigned, openingOf(digits("10"))))).toBe("not_decryptable");
    },
  );

  test.each<[string, Frame, Partial<ReturnType<typeof openingOf>>, DropReason]>([
    ["of another room", whole, { roomId: newUlid() }, "bad_signature"],
    ["of another room, unsigned", sealedOnly, { roomId: newUlid(), policy: digits("10") }, "not_decryptable"],
    ["under the key of another sender", whole, { signPub: other.signPubHex }, "bad_signature"],
    ["under the key of another epoch", whole, { roomKey: otherKey }, "not_decryptable"],
    ["without its signature", { ...whole, sig: undefined }, {}, "unsigned"],
    ["without its nonce", { ...sealedOnly, n: undefined }, { policy: digits("10") }, "not_decryptable"],
    ["without its payload", { ...sealedOnly, p: undefined }, { policy: digits("10") }, "not_decryptable"],
    [
      "with a payload too short to be sealed",
      { ...sealedOnly, p: "AAAA" },
      { policy: digits("10") },
      "not_decryptable",
    ],
    ["in the clear in an encrypted room", plain, { policy: digits("10") }, "not_decryptable"],
    ["sealed in an unencrypted room", sealedOnly, { policy: digits("00") }, "not_decryptable"],
    [
      "for which the reader has no key",
      sealedOnly,
      { policy: digits("10"), roomKey: null as never },
      "not_decryptable",
    ],
    ["under a key of another size", sealedOnly, { policy: digits("10"), roomKey: roomKey.slice(1) }, "not_decryptable"],
  ])("is dropped: %s", async (_, frame, change, reason) => {
    // The sender is named only if the signature is valid.
    const signedBy = reason === "not_decryptable" && frame.sig !== undefined ? frame.from : undefined;
    expect(await openFrame(frame, { ...openingOf(both), ...change })).toEqual({ drop: reason, signedBy });
  });
});

test("many frames open in order, each with its own result", async () => {
  const count = 700;
  const frames = await Promise.all(
    Array.from({ length: count }, (_, i) => sealed(both, { payload: bytesOf(String(i)) })),
  );
  const list = frames.map((frame, i): readonly [Frame, ReturnType<typeof openingOf>] => {
    if (i % 10 === 3) return [{ ...frame, id: newUlid() }, openingOf(both)];
    if (i % 10 === 7) return [frame, { ...openingOf(both), roomKey: otherKey }];
    return [frame, openingOf(both)];
  });
  const opened = await openFrames(list);
  expect(opened).toHaveLength(count);
  for (const [i, one] of opened.entries()) {
    const drop = { 3: "bad_signature", 7: "not_decryptable" }[i % 10];
    if (drop !== undefined) expect(one).toMatchObject({ drop });
    else expect(one).toMatchObject({ frame: at(list, i)[0], payload: bytesOf(String(i)), verified: true });
  }
  expect(await openFrames([])).toEqual([]);
});

const rawKeys = new SoundKeys((raw) => raw);

/** The implementations of signature checks; they must agree. */
const platforms = [
  ["node:crypto", node.signatureHolds],
  ["a browser's", browser.signatureHolds],
  [
    "@noble/ed25519",
    async (signPub: string, text: string, sig: Uint8Array) => {
      const key = rawKeys.of(signPub);
      return key !== null && sig.length === 64 && isReduced(sig) && verifies(key, bytesOf(text), sig);
    },
  ],
] as const;
const oddSignatures = oddSignaturesOf();

describe.each(platforms)("a signature, by %s", (_, signatureHolds) => {
  const text = "unibus-test-v1\nhello";
  const sig = signNow(sender, text);

  test("verifies for its text and key only", async () => {
    expect(await signatureHolds(sender.signPubHex, text, sig)).toBe(true);
    expect(await signatureHolds(sender.signPubHex, `${text} `, sig)).toBe(false);
    expect(await signatureHolds(other.signPubHex, text, sig)).toBe(false);
    expect(await signatureHolds(vectors.sign.sign_pub, vectors.sign.message, bytesIn(vectors.sign.sig))).toBe(true);
  });

  test("with one bit changed, or of another size, does not verify", async () => {
    for (let bit = 0; bit < 512; bit += 7) {
      const changed = sig.map((byte, i) => (i === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte));
      expect(await signatureHolds(sender.signPubHex, text, changed)).toBe(false);
    }
    for (const size of [0, 63, 65, 128]) {
      expect(await signatureHolds(sender.signPubHex, text, new Uint8Array(size))).toBe(false);
    }
  });

  test("does not verify with the order of the group added to its second half", async () => {
    const order = 2n ** 252n + 27742317777372353535851937790883648493n;
    const number = BigInt(`0x${toHex(sig.slice(32).toReversed())}`) + order;
    const malleable = new Uint8Array([
      ...sig.slice(0, 32),
      ...bytes(number.toString(16).padStart(64, "0")).toReversed(),
    ]);
    expect(await signatureHolds(sender.signPubHex, text, malleable)).toBe(false);
  });

  test("under a key of small order, or a non-canonical one, never verifies", async () => {
    // R is the identity point and S is 0: this verifies under such a key if the checker does not inspect the key.
    const forged = new Uint8Array(64).with(0, 1);
    for (const key of [...smallOrderSignKeys, ...looseSignKeys]) {
      expect(await signatureHolds(key, text, forged)).toBe(false);
    }
  });

  test.each(oddSignatures)("that is odd is judged as by OpenSSL: $what", async ({ signPub, text, sig, holds }) => {
    expect(await signatureHolds(signPub, text, sig)).toBe(holds);
  });

  test.each(["", "00", "zz".repeat(32), "0".repeat(62), "2".repeat(66)])("under %j never verifies", async (key) => {
    expect(await signatureHolds(key, text, sig)).toBe(false);
  });
});

test("a browser without native Ed25519 verifies with @noble/ed25519", async () => {
  const { importKey } = crypto.subtle;
  const fresh = await generateIdentity();
  try {
    crypto.subtle.importKey = () => Promise.reject(new Error("unknown to this browser"));
    const text = "unibus-test-v1\nhello";
    expect(await browser.signatureHolds(fresh.signPubHex, text, signNow(fresh, text))).toBe(true);
    expect(await browser.signatureHolds(fresh.signPubHex, text, signNow(sender, text))).toBe(false);
  } finally {
    crypto.subtle.importKey = importKey;
  }
});

describe("a blob", async () => {
  const room = { roomId, epoch: 3, roomKey };
  const { ciphertext, ref } = await sealBlob(payload, room);

  test("opens with its reference", async () => {
    expect(ref.sz).toBe(payload.length + sealBytes);
    expect(await openBlob(ciphertext, ref, room)).toEqual(payload);
    expect((await sealBlob(payload, room)).ref.h).not.toBe(ref.h);
    const empty = await sealBlob(new Uint8Array(), room);
    expect(await openBlob(empty.ciphertext, empty.ref, room)).toEqual(new Uint8Array());
  });

  const touched = ciphertext.map((byte, i) => (i === 5 ? byte ^ 1 : byte));
  test.each<[string, Uint8Array, Partial<typeof ref>, Partial<typeof room>, string]>([
    ["fewer bytes", ciphertext.slice(1), {}, {}, "wrong_size"],
    ["more bytes", new Uint8Array([...ciphertext, 0]), {}, {}, "wrong_size"],
    ["other bytes", touched, {}, {}, "wrong_hash"],
    ["another hash", ciphertext, { h: "0".repeat(64) }, {}, "wrong_hash"],
    ["another nonce", ciphertext, { n: "A".repeat(32) }, {}, "not_decryptable"],
    ["another key", ciphertext, {}, { roomKey: otherKey }, "not_decryptable"],
    ["another room", ciphertext, {}, { roomId: newUlid() }, "not_decryptable"],
    ["another epoch", ciphertext, {}, { epoch: 4 }, "not_decryptable"],
  ])("does not open with %s", async (_, given, refChange, roomChange, fault) => {
    expect(await openBlob(given, { ...ref, ...refChange }, { ...room, ...roomChange })).toEqual({ fault } as never);
  });

  test("has at most 16 MiB when sealed", async () => {
    const most = blobBytesMax - sealBytes;
    const large = await sealBlob(new Uint8Array(most), room);
    expect(large.ref.sz).toBe(blobBytesMax);
    const opened = await openBlob(large.ciphertext, large.ref, room);
    expect((opened as Uint8Array).length).toBe(most);
    await expect(sealBlob(new Uint8Array(most + 1), room)).rejects.toThrow(UnibusError);
  });
});

describe("a ULID", () => {
  test("contains its time, and does not reveal the next one", () => {
    for (const timeMs of [0, 1, 1_700_000_000_123, 2 ** 48 - 1]) {
      const ids = Array.from({ length: 100 }, () => newUlid(timeMs));
      expect(ids.every(isUlid)).toBe(true);
      expect(ids.every((id) => ulidTimeMs(id) === timeMs)).toBe(true);
      expect(new Set(ids).size).toBe(100);
      expect(ids).not.toEqual([...ids].sort());
    }
    expect(Math.abs(ulidTimeMs(newUlid()) - Date.now())).toBeLessThan(1_000);
    expect(ulidTimeMs("01ARZ3NDEKTSV4RRFFQ69G5FAV")).toBe(1_469_922_850_259);
  });

  test("uses every digit in every random position", () => {
    const ids = Array.from({ length: 2_000 }, () => newUlid());
    for (let place = 10; place < 26; place++) expect(new Set(ids.map((id) => id[place])).size).toBe(32);
  });
});

function bytesIn(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, "base64"));
}
