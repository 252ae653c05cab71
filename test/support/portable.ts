/** A program for every platform that the client supports: it prints its results as one line of JSON. */
import { openFrames } from "../../src/client/crypto/frames.ts";
import { computeVectors } from "../../src/client/vectors.ts";
import { bytesOf, fromBase64, fromHex } from "../../src/wire/encoding.ts";
import { decodeFrame, encodeFrame, isDropped } from "../../src/wire/frame.ts";
import golden from "../golden/frames.json";
import { largeTexts } from "./hostile-frames.ts";

const vectors = await computeVectors();
const given = Array.isArray(vectors.frame) ? (vectors.frame as Record<string, string>[]) : [];
const opened = await openFrames(
  given.flatMap(({ wire = "", room_id: roomId = "", room_key, sign_pub: signPub = "" }) => {
    const frame = decodeFrame(bytesOf(wire));
    const roomKey = room_key === undefined ? null : fromHex(room_key);
    const policy = { encrypt: roomKey !== null, persist: true, sign_msgs: true };
    const opening = { roomId, policy, roomKey, signPub };
    // Opens each frame twice, with its own key and with an all-zero key, which exposes a platform that does not verify.
    return isDropped(frame)
      ? []
      : [[frame, opening] as const, [frame, { ...opening, signPub: "0".repeat(64) }] as const];
  }),
);
const said = opened.map((one) => (isDropped(one) ? one.drop : new TextDecoder().decode(one.payload)));
const verdict = (bytes: Uint8Array): string => {
  const frame = decodeFrame(bytes);
  return isDropped(frame) ? frame.drop : new TextDecoder().decode(encodeFrame(frame));
};
const small = golden.frames.flatMap(({ wire }) => (wire === undefined ? [] : [bytesOf(wire)]));
const hostile = golden.hostile.map(({ bytes }) => fromBase64(bytes) ?? new Uint8Array());
const large = largeTexts(given[0]?.wire ?? "").map(bytesOf);
const verdicts = [...small, ...hostile, ...large].map(verdict);
console.log(JSON.stringify({ vectors, said, verdicts }));
