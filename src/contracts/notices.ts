import { disconnectSubject, noticeSubject } from "../wire/names.ts";
import type { Nats } from "./nats.ts";

/** What a notice is about. Source: spec 9. */
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

/** How long notices of one kind to one peer are collected, in milliseconds. Source: spec 9. */
const collectedMs = 1_000;

/** The rooms that a peer is to be notified of when its time has come. */
type Collected = Set<string>;

/**
 * Notifies peers that something about them changed. A notice is a hint, never data: its receiver reads the truth over
 * HTTP, and reads it at the next connect if the notice was missed. So a notice that cannot be sent is not a failure.
 */
export class Notices {
  readonly #collecting = new Map<string, Collected>();

  constructor(private readonly nats: Nats | undefined) {}

  /** Sends a notice to some peers. `roomId` null: it is about the peer itself. */
  tell(endpoints: Iterable<string>, kind: NoticeKind, roomId: string | null): void {
    const body = JSON.stringify(roomId === null ? {} : { room_id: roomId });
    const sending = this.nats?.connection("BUS").then((connection) => {
      for (const endpoint of endpoints) connection.publish(noticeSubject(endpoint, kind), body);
    });
    sending?.catch(() => undefined);
  }

  /**
   * Sends a notice about a room that the peers have not accepted: at once, but not more than one a second of a kind to
   * one peer. What comes within that second is one notice after it, which names no room if it is about several.
   */
  tellSlowly(endpoints: Iterable<string>, kind: NoticeKind, roomId: string): void {
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
    if (now.length > 0) this.tell(now, kind, roomId);
  }

  #collect(key: string, endpoint: string, kind: NoticeKind): void {
    const collected: Collected = new Set();
    this.#collecting.set(key, collected);
    setTimeout(() => {
      this.#collecting.delete(key);
      const [roomId] = collected;
      if (roomId === undefined) return;
      this.#collect(key, endpoint, kind);
      this.tell([endpoint], kind, collected.size === 1 ? roomId : null);
    }, collectedMs).unref();
  }

  /**
   * Asks every node to disconnect the peers whose connections may use a room: they log in again and read the truth.
   * Peers themselves do not see this.
   */
  disconnect(endpoints: Iterable<string>, subject: string): void {
    const sending = this.nats?.connection("BUS").then((connection) => {
      for (const endpoint of endpoints) connection.publish(disconnectSubject(endpoint), subject);
    });
    sending?.catch(() => undefined);
  }
}
