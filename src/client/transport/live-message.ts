import { type Dropped, decodeFrame, type Frame, isDropped } from "../../wire/frame.ts";
import { deliverRoot, signalRoot } from "../../wire/names.ts";

/** A message as a connection received it. */
export class LiveMessage {
  #frame: Frame | Dropped | null = null;

  constructor(
    readonly subject: string,
    readonly data: Uint8Array,
    readonly reply: string | undefined,
    /** The number of the connection that delivered it; a newer connection has a higher number. */
    readonly connection: number,
  ) {}

  /** The data as a frame, or why it is not one. Decoded at the first call, and only then. */
  get frame(): Frame | Dropped {
    this.#frame ??= decodeFrame(this.data);
    return this.#frame;
  }
}

/**
 * A key that is equal for two copies of one message: the sender, id and signature of a frame, or the ack subject of a
 * delivery. Null if the message is not a valid frame.
 */
export function copyKey(message: LiveMessage): string | null {
  if (message.subject.startsWith(deliverRoot)) return message.reply ?? null;
  // Copies of a signal are recognized when it is opened.
  if (message.subject.startsWith(signalRoot)) return null;
  const { frame } = message;
  return isDropped(frame) ? null : `${frame.from}.${frame.id}.${frame.sig ?? ""}`;
}
