import type { LiveMessage } from "./connection.ts";

/** The maximum size of a notice, in bytes. */
const bytesMax = 64;
const bodyShape = /^\{(?:"room_id":"([0-7][0-9A-HJKMNP-TV-Z]{25})")?\}$/;
const subjectShape = /^unibus\.user\.[^.]+\.([a-z_]{1,32})$/;

/** A hint from the server that something changed for this peer. */
export interface Notice {
  readonly kind: string;
  /** The room that it is about; null if it is about the peer itself or about several rooms. */
  readonly roomId: string | null;
}

/** Whether a subject is used for notices. */
export function isNoticeSubject(subject: string): boolean {
  return subject.startsWith("unibus.user.");
}

/**
 * Parses a notice; null if the message is not one. Any peer can make JetStream write to this subject, so everything
 * except exactly `{}` or `{"room_id":ULID}` is ignored before it costs anything. Source: spec 9.
 */
export function noticeIn({ subject, data }: Pick<LiveMessage, "subject" | "data">): Notice | null {
  const kind = subjectShape.exec(subject)?.[1];
  if (kind === undefined || data.length > bytesMax) return null;
  const body = bodyShape.exec(new TextDecoder().decode(data));
  return body === null ? null : { kind, roomId: body[1] ?? null };
}
