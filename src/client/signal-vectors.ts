/** Test vectors of signals, sealed and opened with the production code. Source: docs/protocol/signals.md. */
import { toHex } from "../wire/encoding.ts";
import { signalSubject } from "../wire/names.ts";
import {
  encodeSignal,
  openSignal,
  parseSignal,
  type Signal,
  type SignalPlace,
  sealSignal,
  signalAad,
  signalKey,
  signalKinds,
} from "../wire/signal.ts";
import type { Identity } from "./crypto/identity.ts";
import { decrypt, encrypt } from "./crypto/sealing.ts";
import { firstId, run, type Vector, type VectorRoom, type Vectors } from "./vector-room.ts";

/** The length of the epoch and the nonce, in bytes. */
const ciphertextAt = 28;

function signalVector(room: VectorRoom, signal: Signal, by: Identity, epoch: number, nonceAt: number | null): Vector {
  const place: SignalPlace = { roomId: room.roomId, endpoint: by.endpoint, epoch };
  const roomKey = room.roomKeys[epoch - 1] ?? new Uint8Array();
  const key = nonceAt === null ? null : signalKey(roomKey, room.roomId);
  const nonce = run(nonceAt ?? 0, 24);
  const payload = sealSignal(signal, place, key, nonce, encrypt);
  const subject = signalSubject(room.roomId, by.endpoint);
  const sealed = parseSignal(subject, payload);
  const opened = sealed === null ? "not_a_signal" : openSignal(sealed, key, signal.timeMs, decrypt);
  if (typeof opened === "string") throw new TypeError(`a test vector's signal is dropped: ${opened}`);
  const fields = {
    subject,
    room_id: room.roomId,
    endpoint: by.endpoint,
    epoch,
    encrypt: key !== null,
    time_ms: opened.timeMs,
    counter: opened.counter,
    kind: signalKinds[opened.kind],
    body: opened.messageId ?? "",
    plaintext: toHex(encodeSignal(signal)),
    payload: toHex(payload),
  };
  if (key === null) return fields;
  const ciphertext = toHex(payload.subarray(ciphertextAt));
  const secret = { room_key: toHex(roomKey), key: toHex(key), nonce: toHex(nonce), aad: signalAad(place), ciphertext };
  return { ...fields, ...secret };
}

/** Computes the group `signal`. */
export function signalVectors(room: VectorRoom): Vectors {
  const signal: Signal = { timeMs: 1_700_000_000_123, counter: 0, kind: "typing", messageId: null };
  return {
    signal: [
      signalVector(room, signal, room.owner, 1, 0x10),
      signalVector(room, { ...signal, counter: 1, kind: "read", messageId: firstId }, room.other, 2, 0x28),
      signalVector(room, { ...signal, counter: 0xffffffff, kind: "present" }, room.owner, 1, null),
    ],
  };
}
