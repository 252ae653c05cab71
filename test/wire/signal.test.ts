/** Signals: sealed and opened with the values of the vectors, and dropped if anything about them does not match. */
import { beforeAll, describe, expect, test } from "bun:test";
import sodium from "libsodium-wrappers";
import { decrypt, encrypt } from "../../src/client/crypto/sealing.ts";
import { toHex } from "../../src/wire/encoding.ts";
import { signalSubject } from "../../src/wire/names.ts";
import {
  openSignal,
  parseSignal,
  type Signal,
  type SignalKind,
  type SignalPlace,
  sealSignal,
  signalKey,
  signalKinds,
  signalSkewMs,
} from "../../src/wire/signal.ts";
import { at, bytes, vectors } from "../support/vectors.ts";

beforeAll(() => sodium.ready);

const given = at(vectors.signal, 0);
const place: SignalPlace = { roomId: given.room_id, endpoint: given.endpoint, epoch: 1 };
const roomKey = bytes(given.room_key ?? "");
const key = signalKey(roomKey, place.roomId);
const nonce = bytes(given.nonce ?? "");
const signal: Signal = { timeMs: 1_700_000_000_123, counter: 0, kind: "typing", messageId: null };

/** Opens a payload that arrived on the subject of a place. */
function open(payload: Uint8Array, of = place, under: Uint8Array | null = key, nowMs = signal.timeMs) {
  const sealed = parseSignal(signalSubject(of.roomId, of.endpoint), payload);
  return sealed === null ? null : openSignal(sealed, under, nowMs, decrypt);
}

const kindOf = (number: number) =>
  (Object.entries(signalKinds) as [SignalKind, number][]).find(([, one]) => one === number)?.[0];

describe("a signal", () => {
  test.each(vectors.signal)("of kind $kind has the bytes of the vectors", (vector) => {
    const of = { roomId: vector.room_id, endpoint: vector.endpoint, epoch: vector.epoch };
    const under = vector.encrypt ? signalKey(bytes(vector.room_key ?? ""), of.roomId) : null;
    const one = open(bytes(vector.payload), of, under, vector.time_ms);
    if (one === null || typeof one === "string") throw new Error(`dropped: ${one}`);
    const { timeMs, counter, kind, messageId } = one;
    expect([timeMs, counter, kind, messageId ?? ""]).toEqual([
      ...[vector.time_ms, vector.counter, kindOf(vector.kind) ?? "none"],
      vector.body,
    ]);
    expect(toHex(sealSignal(one, of, under, bytes(vector.nonce ?? ""), encrypt))).toBe(vector.payload);
  });

  test("is sealed with the nonce that the caller brings", () => {
    const other = sealSignal(signal, place, key, new Uint8Array(24).fill(9), encrypt);
    expect(toHex(other).slice(8, 56)).toBe("09".repeat(24));
    expect(open(other)).toEqual(signal);
  });

  test("is not opened with another room, sender, epoch or key", () => {
    const payload = sealSignal(signal, place, key, nonce, encrypt);
    const others: [SignalPlace, Uint8Array][] = [
      [{ ...place, roomId: "01BX5ZZKBKACTAV9WEVGEMMVRZ" }, key],
      [{ ...place, endpoint: at(vectors.signal, 1).endpoint }, key],
      [place, signalKey(roomKey, "01BX5ZZKBKACTAV9WEVGEMMVRZ")],
      [place, roomKey],
    ];
    for (const [of, under] of others) expect(open(payload, of, under)).toBe("not_decryptable");
    const moved = Uint8Array.from(payload);
    moved[3] = 2;
    expect(open(moved)).toBe("not_decryptable");
    for (let byte = 4; byte < payload.length; byte++) {
      const damaged = Uint8Array.from(payload);
      damaged[byte] = (damaged[byte] ?? 0) ^ 1;
      expect(open(damaged)).toBe("not_decryptable");
    }
  });

  test.each([
    ["of kind 0", "000000000000000000000000", "00", ""],
    ["of kind 7", "0000018bcfe5687b00000000", "07", ""],
    ["of kind typing with a body", "0000018bcfe5687b00000000", "01", "41"],
    ["of kind read without a body", "0000018bcfe5687b00000000", "06", ""],
    ["of kind read with an id in lowercase", "0000018bcfe5687b00000000", "06", "30316278357a7a6b".padEnd(52, "61")],
    [
      "of kind read behind a byte order mark",
      "0000018bcfe5687b00000000",
      "06",
      `efbbbf${toHex(new TextEncoder().encode("01BX5ZZKBKACTAV9WEVGEMMVRZ"))}`,
    ],
  ])("%s is not a signal", (_, head, kind, body) => {
    expect(open(bytes(`00000001${head}${kind}${body}`), place, null)).toBe("not_a_signal");
  });

  test("that is too short, too long, of epoch 0 or on another subject is not parsed", () => {
    const payload = sealSignal(signal, place, key, nonce, encrypt);
    const subject = signalSubject(place.roomId, place.endpoint);
    const parses = (on: string, bytes: Uint8Array) => parseSignal(on, bytes) !== null;
    expect(parses(subject, payload)).toBe(true);
    expect(parses(subject, payload.subarray(0, 16))).toBe(false);
    expect(parses(subject, new Uint8Array(84).fill(1))).toBe(false);
    expect(parses(subject, new Uint8Array(payload.length))).toBe(false);
    expect(parses(subject, new Uint8Array(payload.length).fill(0xff))).toBe(false);
    for (const on of [`${subject}.x`, subject.slice(0, -1), subject.slice(1), `_SIG.x.${place.endpoint}`, "_SIG"]) {
      expect(parses(on, payload)).toBe(false);
    }
  });

  test("is stale a moment after a minute, in both directions", () => {
    const payload = sealSignal(signal, place, key, nonce, encrypt);
    for (const sign of [-1, 1]) {
      expect(open(payload, place, key, signal.timeMs + sign * signalSkewMs)).toEqual(signal);
      expect(open(payload, place, key, signal.timeMs + sign * (signalSkewMs + 1))).toBe("stale");
    }
    expect(open(bytes("00000001ffffffffffffffff0000000001"), place, null)).toBe("stale");
  });

  test("a repeat has the same replay key, and no other signal has it", () => {
    const subject = signalSubject(place.roomId, place.endpoint);
    const replayKey = (payload: Uint8Array) => parseSignal(subject, payload)?.replayKey;
    const one = replayKey(sealSignal(signal, place, key, nonce, encrypt));
    expect(replayKey(sealSignal(signal, place, key, nonce, encrypt))).toBe(one ?? "none");
    expect(replayKey(sealSignal(signal, place, key, new Uint8Array(24), encrypt))).not.toBe(one);
    const plain = (counter: number) => replayKey(sealSignal({ ...signal, counter }, place, null, nonce, encrypt));
    expect(plain(1)).toBe(plain(1) ?? "none");
    expect(plain(1)).not.toBe(plain(2));
  });
});
