import { disconnectSubject, noticeSubject } from "../wire/names.ts";
import type { Nats } from "./nats.ts";

/**
 * The kind of a notice, the last token of its subject. Clients and the revoker know some kinds by name: see "Adding to
 * the wire" in docs/architecture.md. Source: docs/protocol/notices.md.
 */
export type NoticeKind =
  | "joined"
  | "accepted"
  | "removed"
  | "role"
  | "rekeyed"
  | "rekey_pending"
  | "deleted"
  | "durable"
  | "revoked";

/** How long notices of one kind to one user are coalesced, in milliseconds. Source: docs/protocol/notices.md. */
const collectedMs = 1_000;

/** The rooms of the notices that were coalesced for one user and kind. */
type Collected = Set<string>;

/**
 * Notifies users that something about them changed. A notice is a hint, not data: its receiver reads the current state
 * over HTTP, and reads it on the next connect if the notice was lost. So a notice that cannot be sent is not an error.
 */
export class Notices {
  readonly #collecting = new Map<string, Collected>();

  constructor(private readonly nats: Nats | undefined) {}

  /** Sends a notice to some users. `roomId` null means that it is about the user. */
  notify(endpoints: Iterable<string>, kind: NoticeKind, roomId: string | null): void {
    const body = JSON.stringify(roomId === null ? {} : { room_id: roomId });
    const sending = this.nats?.connection("BUS").then((connection) => {
      for (const endpoint of endpoints) connection.publish(noticeSubject(endpoint, kind), body);
    });
    sending?.catch(() => undefined);
  }

  /**
   * Sends a notice about a room that the users have not accepted, rate limited to one per second of each kind and user.
   * The first goes out at once; those within the next second become one notice, which names no room if there are
   * several.
   */
  notifyRateLimited(endpoints: Iterable<string>, kind: NoticeKind, roomId: string): void {
    const now: string[] = [];
    for (const endpoint of endpoints) {
      const key = `${endpoint} ${kind}`;
      const collected = this.#collecting.get(key);
      if (collected !== undefined) collected.add(roomId);
      else {
        now.push(endpoint);
        this.#collect(key, endpoint, kind);
      }
    }
    if (now.length > 0) this.notify(now, kind, roomId);
  }

  #collect(key: string, endpoint: string, kind: NoticeKind): void {
    const collected: Collected = new Set();
    this.#collecting.set(key, collected);
    setTimeout(() => {
      this.#collecting.delete(key);
      const [roomId] = collected;
      if (roomId === undefined) return;
      this.#collect(key, endpoint, kind);
      this.notify([endpoint], kind, collected.size === 1 ? roomId : null);
    }, collectedMs).unref();
  }

  /**
   * Asks every node to disconnect these users' connections that may use a room. Their clients log in again and get new
   * permissions. Users cannot see this message.
   */
  disconnect(endpoints: Iterable<string>, subject: string): void {
    const sending = this.nats?.connection("BUS").then((connection) => {
      for (const endpoint of endpoints) connection.publish(disconnectSubject(endpoint), subject);
    });
    sending?.catch(() => undefined);
  }
}
