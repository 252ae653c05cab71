import type { LiveMessage } from "./line.ts";

/** The longest notice that is one, in bytes. */
const bytesMax = 64;
const bodyShape = /^\{(?:"room_id":"([0-7][0-9A-HJKMNP-TV-Z]{25})")?\}$/;
const subjectShape = /^unibus\.user\.[^.]+\.([a-z_]{1,32})$/;

/** A hint of the bus that something about this peer changed. */
export interface Notice {
  readonly kind: string;
  /** The room that it is about; null for the peer itself, or for several rooms. */
  readonly roomId: string | null;
}

/** Whether a subject is one of notices. */
export function isNoticeSubject(subject: string): boolean {
  return subject.startsWith("unibus.user.");
}

/**
 * The notice in a message, or null. Any peer can have JetStream write there, so what is not exactly `{}` or
 * `{"room_id":ULID}` is ignored before anything is counted. Source: spec 9.
 */
export function noticeIn({ subject, data }: Pick<LiveMessage, "subject" | "data">): Notice | null {
  const kind = subjectShape.exec(subject)?.[1];
  if (kind === undefined || data.length > bytesMax) return null;
  const body = bodyShape.exec(new TextDecoder().decode(data));
  return body === null ? null : { kind, roomId: body[1] ?? null };
}
