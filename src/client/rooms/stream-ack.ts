/** The replies of JetStream to published frames: an ack with a sequence number, or an error. */
import { UnibusError } from "../../wire/errors.ts";
import { streamName } from "../../wire/names.ts";

/** JetStream's reply to a publish. */
export interface Ack {
  readonly stream?: string;
  readonly seq?: number;
  readonly duplicate?: boolean;
  readonly error?: { readonly err_code?: number };
}

/** JetStream's error code for a full stream that rejects messages. */
const fullCode = 10077;

/** Parses a JetStream ack; null if the data is not one. */
export function ackOf(data: Uint8Array): Ack | null {
  try {
    const ack = JSON.parse(new TextDecoder().decode(data)) as Ack | null;
    return typeof ack === "object" && ack !== null && ("stream" in ack || "error" in ack) ? ack : null;
  } catch {
    return null;
  }
}

/** The error in a negative ack, or null. */
export function refusalOf(ack: Ack | null): UnibusError | null {
  if (ack?.error === undefined) return null;
  if (ack.error.err_code === fullCode) return new UnibusError("quota", "the room is full (ask an owner or an admin)");
  return new UnibusError("unavailable", "the server cannot store messages of this room now (try again)");
}

/**
 * Recognizes a reply of the server: a JetStream ack or an empty message, with its error if it has one. Null for a reply
 * of a peer.
 */
export function answerOfServer(data: Uint8Array): { readonly refusal: UnibusError | null } | null {
  const ack = ackOf(data);
  return ack === null && data.length > 0 ? null : { refusal: refusalOf(ack) };
}

/** The sequence number in an ack. Errors: quota, unavailable; forbidden if the ack is not for this room's stream. */
export function sequenceOf(ack: Ack, roomId: string, attempt: number): number {
  if (ack.stream !== streamName(roomId) || !Number.isSafeInteger(ack.seq)) {
    throw new UnibusError("forbidden", "the server acknowledged the message for another room (do not trust it)");
  }
  if (ack.duplicate === true && attempt === 1) {
    throw new UnibusError("forbidden", "the server rejected a new message as a duplicate (do not trust it)");
  }
  return ack.seq ?? 0;
}
