import { noticeSubject } from "../wire/names.ts";
import type { Nats } from "./nats.ts";

/** What a notice is about. Source: spec 9. */
export type NoticeKind =
  | "joined"
  | "removed"
  | "role"
  | "rekeyed"
  | "rekey_pending"
  | "deleted"
  | "durable"
  | "revoked";

/**
 * Tells peers that something about them changed. A notice is a hint, never data: whoever gets one reads the truth over
 * HTTP, and whoever misses one reads it at the next connect. So a notice that cannot be sent is no failure.
 */
export class Notices {
  constructor(private readonly nats: Nats | undefined) {}

  /** Sends a notice to some peers. `roomId` null: it is about the peer itself. */
  tell(endpoints: Iterable<string>, kind: NoticeKind, roomId: string | null): void {
    const body = JSON.stringify(roomId === null ? {} : { room_id: roomId });
    const sending = this.nats?.connection("BUS").then((connection) => {
      for (const endpoint of endpoints) connection.publish(noticeSubject(endpoint, kind), body);
    });
    sending?.catch(() => undefined);
  }
}
