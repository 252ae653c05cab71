/** Opens a room's history repeatedly, in Bun or Node; prints frames per second, with the raw cryptographic limit. */
import { createPublicKey, verify } from "node:crypto";
import sodium from "libsodium-wrappers";
import { openFrames, sealFrame } from "../../src/client/crypto/frames.ts";
import { generateIdentity } from "../../src/client/crypto/identity.ts";
import { newRoomKey } from "../../src/client/crypto/keys.ts";
import { bytesOf, fromBase64, toBase64Url } from "../../src/wire/encoding.ts";
import { decodeFrame, type Frame, frameAad, frameSigningText, isDropped } from "../../src/wire/frame.ts";
import { newUlid } from "../../src/wire/ulid.ts";
import { median } from "./measure.ts";

/** Printed rates, in frames per second. */
export interface OpenRates {
  readonly opened: number;
  /** The limit: only libsodium's decryption and the platform's verification of frames that were parsed in advance. */
  readonly raw: number;
}

const frames = 10_000;
/** The maximum number of messages in one history reply. */
const page = 1_000;
const payloadBytes = 200;
const rounds = 5;

const identity = await generateIdentity();
const policy = { encrypt: true, persist: true, sign_msgs: true };
const roomKey = newRoomKey();
const room = { roomId: newUlid(), subject: "room.bench", policy, epoch: 1, roomKey };
const opening = { roomId: room.roomId, policy, roomKey, signPub: identity.signPubHex };

const wire: Uint8Array[] = [];
for (let index = 0; index < frames; index++) {
  const payload = crypto.getRandomValues(new Uint8Array(payloadBytes));
  wire.push(await sealFrame({ id: newUlid(), payload }, room, identity));
}

async function open(): Promise<number> {
  let opened = 0;
  for (let at = 0; at < frames; at += page) {
    const decoded = wire.slice(at, at + page).map(decodeFrame);
    const list = decoded.flatMap((frame) => (isDropped(frame) ? [] : [[frame, opening] as const]));
    for (const one of await openFrames(list)) if (!isDropped(one) && one.verified) opened += 1;
  }
  return opened;
}

const parts = wire.map((bytes) => {
  const frame = decodeFrame(bytes) as Frame;
  const [ciphertext, nonce, sig] = [frame.p, frame.n, frame.sig].map((text = "") => fromBase64(text) as Uint8Array);
  const [aad, text] = [bytesOf(frameAad(room.roomId, frame)), bytesOf(frameSigningText(room.roomId, frame))];
  return { ciphertext, nonce, sig, aad, text } as Record<"ciphertext" | "nonce" | "sig" | "aad" | "text", Uint8Array>;
});
const key = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x: toBase64Url(identity.signPub) }, format: "jwk" });

async function raw(): Promise<number> {
  let held = 0;
  for (let at = 0; at < frames; at += page) {
    const checks = parts.slice(at, at + page).map(({ ciphertext, nonce, sig, aad, text }) => {
      const check = new Promise<boolean>((resolve) => verify(null, text, key, sig, (_, holds) => resolve(holds)));
      sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(null, ciphertext, aad, nonce, roomKey);
      return check;
    });
    held += (await Promise.all(checks)).filter(Boolean).length;
  }
  return held;
}

async function perSecond(work: () => Promise<number>): Promise<number> {
  const began = performance.now();
  const done = await work();
  if (done !== frames) throw new Error(`${done} of ${frames} frames opened`);
  return (frames * 1000) / (performance.now() - began);
}

const rates: { opened: number[]; raw: number[] } = { opened: [], raw: [] };
for (let round = -1; round < rounds; round++) {
  const [opened, limit] = [await perSecond(open), await perSecond(raw)];
  // The first round is a warm-up.
  if (round < 0) continue;
  rates.opened.push(opened);
  rates.raw.push(limit);
}
const result: OpenRates = { opened: median(rates.opened), raw: median(rates.raw) };
console.log(JSON.stringify(result));
