import type { NatsMessage } from "./nats-connection.ts";

/** The maximum size of a notice, in bytes. */
const bytesMax = 64;
/** How many notices are remembered to recognize copies from other connections. */
const noticesMax = 1_000;
const bodyShape = /^\{(?:"room_id":"([0-7][0-9A-HJKMNP-TV-Z]{25})")?\}$/;
const subjectShape = /^unibus\.user\.[^.]+\.([a-z_]{1,32})$/;

/** A hint from the server that something changed for this peer. */
export interface Notice {
  readonly kind: string;
  /** The room that it is about; null if it is about the peer itself or about several rooms. */
  readonly roomId: string | null;
}

/**
 * Parses a notice; null if the message is not one. Any peer can make JetStream write to this subject, so everything
 * except exactly `{}` or `{"room_id":ULID}` is ignored before it costs anything. Source: docs/protocol/notices.md.
 */
export function noticeIn({ subject, data }: Pick<NatsMessage, "subject" | "data">): Notice | null {
  const kind = subjectShape.exec(subject)?.[1];
  if (kind === undefined || data.length > bytesMax) return null;
  const body = bodyShape.exec(new TextDecoder().decode(data));
  return body === null ? null : { kind, roomId: body[1] ?? null };
}

/** Recognizes copies of a notice that several connections deliver. */
export class NoticeCopies<L> {
  /** Recent notices, oldest first, with the connections that delivered them. */
  readonly #noticed = new Map<string, { readonly atMs: number; readonly lines: Set<L> }>();

  /** `withinMs`: how long after the first copy others may arrive. */
  constructor(private readonly withinMs: number) {}

  /**
   * Whether another connection already delivered this notice. Any connection may miss one, so notices of all are
   * handled; a notice that arrives twice on one connection was sent twice.
   */
  isCopy({ kind, roomId }: Notice, line: L): boolean {
    const key = `${kind} ${roomId}`;
    const nowMs = performance.now();
    for (const [name, { atMs }] of this.#noticed) {
      if (nowMs - atMs < this.withinMs && this.#noticed.size < noticesMax) break;
      this.#noticed.delete(name);
    }
    const lines = this.#noticed.get(key)?.lines;
    if (lines !== undefined && !lines.has(line)) {
      lines.add(line);
      return true;
    }
    this.#noticed.delete(key);
    this.#noticed.set(key, { atMs: nowMs, lines: new Set([line]) });
    return false;
  }
}
