import type { Log } from "../../contracts/plugin.ts";
import type { RoomStore } from "../../contracts/store.ts";
import type { Durable, StreamRoom } from "../../contracts/streams.ts";
import { consumerName, deliverSubject, streamName } from "../../wire/names.ts";
import { type ApiReply, type JetStream, jsCode, refuseOthers } from "./jetstream.ts";

/** Frames that a device may hold without an ack. More of the largest would be a slow-consumer loop. Source: spec 8. */
const ackPendingMax = 32;
/** How long a device may take for one frame, in nanoseconds. Source: spec 8. */
const ackWaitNs = 10_000_000_000;
/** How long a failed settling waits before it runs again, in milliseconds. */
const retryMs = 1_000;

/** What the durables of rooms work with. */
export interface DurableParts {
  readonly js: JetStream;
  readonly rooms: RoomStore;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** The push consumers of the rooms' members: made for their devices, gone with their memberships. */
export class Durables {
  /** Rooms whose consumers may differ from their members. */
  readonly #unsettled = new Map<string, StreamRoom>();
  #isRunning = false;

  constructor(private readonly parts: DurableParts) {}

  /** Makes a device's consumer, or finds it there. Errors: unavailable. */
  async bind({ roomId }: StreamRoom, endpoint: string, device: string): Promise<Durable> {
    const stream = streamName(roomId);
    const consumer = consumerName(roomId, endpoint, device);
    const deliver = deliverSubject(endpoint, roomId, device);
    const config = {
      durable_name: consumer,
      deliver_subject: deliver,
      deliver_policy: "all",
      ack_policy: "explicit",
      ack_wait: ackWaitNs,
      max_ack_pending: ackPendingMax,
      replay_policy: "instant",
    };
    const subject = `CONSUMER.DURABLE.CREATE.${stream}.${consumer}`;
    refuseOthers(await this.parts.js.call<ApiReply>(subject, { stream_name: stream, config }));
    return { stream, consumer, deliver };
  }

  /** Brings a room's consumers in line with its members, now and until it is done. */
  settle(room: StreamRoom): void {
    this.#unsettled.set(room.roomId, room);
    void this.#run();
  }

  async #run(): Promise<void> {
    if (this.#isRunning) return;
    this.#isRunning = true;
    const { signal, log } = this.parts;
    for (let next = this.#next(); next !== undefined && !signal.aborted; next = this.#next()) {
      this.#unsettled.delete(next.roomId);
      try {
        await this.settleNow(next.roomId);
      } catch (error) {
        if (signal.aborted) break;
        log.warn("the durables of a room could not be settled yet", { room_id: next.roomId, cause: error });
        this.#unsettled.set(next.roomId, next);
        await new Promise((resolve) => setTimeout(resolve, retryMs).unref());
      }
    }
    this.#isRunning = false;
  }

  #next(): StreamRoom | undefined {
    return this.#unsettled.values().next().value;
  }

  /** Consumers of a room that belong to no device of a member. Errors: unavailable. */
  async strangersOf(roomId: string): Promise<string[]> {
    const { js, rooms } = this.parts;
    // Consumers first: one that is made after this list belongs to a device that the stays show by then.
    const names = await consumerNames(js, streamName(roomId));
    const stays = await rooms.listStays(roomId);
    const wanted = new Set(
      stays
        .filter(({ until, leftAt }) => until === 0 && leftAt === null)
        .flatMap(({ endpoint, devices }) => devices.map((device) => consumerName(roomId, endpoint, device))),
    );
    return names.filter((name) => !wanted.has(name));
  }

  /** Brings a room's consumers in line with its members, once. Errors: unavailable. */
  async settleNow(roomId: string): Promise<void> {
    const stream = streamName(roomId);
    for (const name of await this.strangersOf(roomId)) {
      const reply = await this.parts.js.call<ApiReply>(`CONSUMER.DELETE.${stream}.${name}`);
      refuseOthers(reply, jsCode.consumerNotFound, jsCode.streamNotFound);
    }
  }
}

async function consumerNames(js: JetStream, stream: string): Promise<string[]> {
  const names: string[] = [];
  for (;;) {
    const reply = await js.call<ApiReply & { total: number; consumers: string[] | null }>(`CONSUMER.NAMES.${stream}`, {
      offset: names.length,
    });
    if (refuseOthers(reply, jsCode.streamNotFound).error !== undefined) return [];
    const page = reply.consumers ?? [];
    names.push(...page);
    if (page.length === 0 || names.length >= reply.total) return names;
  }
}
