/**
 * The push consumers of members' devices. The wanted state of a consumer is in its member's stay: it exists if and only
 * if the stay is open and contains the device. A request that changes the stay changes the consumer afterwards, then
 * reads the stay again. So the last request to touch a consumer has seen the last change of its stay, even if the
 * requests run on different nodes. Within one process a mutex serialises the changes of a consumer, which spares
 * devices a second delivery of the backlog. The plugin's `bind`, `unbind` and `settle` use it, and so do the doctor and
 * the sweep.
 */
import type { Log } from "../../contracts/plugin.ts";
import { isIn } from "../../contracts/stay-rules.ts";
import type { RoomStore } from "../../contracts/store.ts";
import type { Durable, StreamRoom } from "../../contracts/streams.ts";
import { KeyedMutex } from "../../lib/keyed-mutex.ts";
import { type ApiReply, type JetStream, jsCode } from "../../nats/jetstream.ts";
import { pages } from "../../nats/pages.ts";
import { UnibusError } from "../../wire/errors.ts";
import { consumerName, deliverSubject, mainDevice, streamName } from "../../wire/names.ts";
import { expectReply } from "./errors.ts";

/**
 * The most unacknowledged frames of a device. More frames of the largest size would cause a slow-consumer loop.
 * Source: docs/protocol/durables.md.
 */
const ackPendingMax = 32;
/** The ack timeout of one frame, in nanoseconds. Source: docs/protocol/durables.md. */
const ackWaitNs = 10_000_000_000;
/** How often a consumer is changed again because its stay changed during the change. */
const attemptsMax = 100;
/** How long a failed settling waits before it is retried, in milliseconds. */
const retryMs = 1_000;

/** The room, member and device of a consumer. */
interface Place {
  readonly roomId: string;
  readonly endpoint: string;
  readonly device: string;
}

const nameOf = ({ roomId, endpoint, device }: Place): string => consumerName(roomId, endpoint, device);

/** The differences between a room's consumers and the devices of its members. */
export interface Difference {
  /** Consumers without a device. `place` is null if the consumer's endpoint was never in the room. */
  readonly strangers: readonly { readonly name: string; readonly place: Place | null }[];
  /** Devices without a consumer. */
  readonly missing: readonly Place[];
}

/** The dependencies of the durables. */
export interface DurablesDeps {
  readonly js: JetStream;
  readonly rooms: RoomStore;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** The push consumers of rooms: created for members' devices, and removed with the device or membership. */
export class Durables {
  /** Rooms whose consumers may differ from their members' devices. */
  readonly #unsettled = new Map<string, StreamRoom>();
  /** One mutex for each consumer, by name. */
  readonly #turns = new KeyedMutex();
  #isRunning = false;

  constructor(private readonly deps: DurablesDeps) {}

  /**
   * Creates a device's consumer, or returns the existing one. Returns null, and leaves no consumer, if the member does
   * not have the device. Errors: unavailable.
   */
  bind({ roomId }: StreamRoom, endpoint: string, device: string, isNew: boolean): Promise<Durable | null> {
    const place = { roomId, endpoint, device };
    return this.#turns.hold(nameOf(place), async () => {
      if (isNew) await this.#remove(place);
      const durable = await this.#make(place);
      return (await this.#reconcile(place, true)) ? durable : null;
    });
  }

  /** Removes a device's consumer, unless its member has the device. Errors: unavailable. */
  async unbind({ roomId }: StreamRoom, endpoint: string, device: string): Promise<void> {
    const place = { roomId, endpoint, device };
    await this.#turns.hold(nameOf(place), () => this.#reconcile(place, null));
  }

  /**
   * Creates or removes a consumer until it matches its stay. `isThere` null: unknown. Returns whether it exists.
   * Errors: unavailable.
   */
  async #reconcile(place: Place, isThere: boolean | null): Promise<boolean> {
    for (let tries = 0, is = isThere; tries < attemptsMax; tries++) {
      const isWanted = await this.#isWanted(place);
      if (isWanted === is) return isWanted;
      // It is wanted, and this call did not remove it: leave it as it is.
      if (isWanted && is === null) return true;
      if (isWanted) await this.#make(place);
      else await this.#remove(place);
      is = isWanted;
    }
    throw new UnibusError("unavailable", "this durable is being changed too often (try again)");
  }

  async #isWanted({ roomId, endpoint, device }: Place): Promise<boolean> {
    const { rooms } = this.deps;
    const [room, stay] = await Promise.all([rooms.getRoom(roomId), rooms.getStay(roomId, endpoint)]);
    return room?.deletedAt === null && stay !== null && isIn(stay) && stay.devices.includes(device);
  }

  #remove(place: Place): Promise<void> {
    return this.#delete(streamName(place.roomId), nameOf(place));
  }

  async #make(place: Place): Promise<Durable> {
    const { roomId, endpoint, device } = place;
    const [stream, consumer] = [streamName(roomId), nameOf(place)];
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
    expectReply(await this.deps.js.call<ApiReply>(subject, { stream_name: stream, config }));
    return { stream, consumer, deliver };
  }

  /** Reconciles a room's consumers with its members, with retries until it succeeds. */
  settle(room: StreamRoom): void {
    this.#unsettled.set(room.roomId, room);
    void this.#run();
  }

  async #run(): Promise<void> {
    if (this.#isRunning) return;
    this.#isRunning = true;
    const { signal, log } = this.deps;
    for (let next = this.#next(); next !== undefined && !signal.aborted; next = this.#next()) {
      this.#unsettled.delete(next.roomId);
      try {
        await this.settleNow(next.roomId);
      } catch (error) {
        if (signal.aborted) break;
        log.warn("could not settle the durables of a room; retrying", { room_id: next.roomId, cause: error });
        this.#unsettled.set(next.roomId, next);
        await new Promise((resolve) => setTimeout(resolve, retryMs).unref());
      }
    }
    this.#isRunning = false;
  }

  #next(): StreamRoom | undefined {
    return this.#unsettled.values().next().value;
  }

  /** Compares a room's consumers with the devices of its members. Errors: unavailable. */
  async compare(roomId: string): Promise<Difference> {
    const { js, rooms } = this.deps;
    // List the consumers first: one that is created after this belongs to a device that the stays read next contain.
    const names = await consumerNames(js, streamName(roomId));
    const stays = await rooms.listStays(roomId);
    const places = stays
      .filter(isIn)
      .flatMap(({ endpoint, devices }) => devices.map((device): Place => ({ roomId, endpoint, device })));
    const wanted = new Map(places.map((place) => [nameOf(place), place]));
    // A consumer's name contains a sanitised endpoint, so it can only be matched with endpoints that are or were in the
    // room.
    const endpoints = new Map(stays.map(({ endpoint }) => [consumerName(roomId, endpoint), endpoint]));
    const placeOf = (name: string): Place | null => {
      const main = name.slice(0, consumerName(roomId, stays[0]?.endpoint ?? "").length);
      const endpoint = endpoints.get(main);
      return endpoint === undefined ? null : { roomId, endpoint, device: name.slice(main.length + 1) || mainDevice };
    };
    const strangers = names.filter((name) => !wanted.has(name)).map((name) => ({ name, place: placeOf(name) }));
    const there = new Set(names);
    return { strangers, missing: [...wanted].filter(([name]) => !there.has(name)).map(([, place]) => place) };
  }

  /** Reconciles a room's consumers with its members, once. Errors: unavailable. */
  async settleNow(roomId: string): Promise<void> {
    const { strangers, missing } = await this.compare(roomId);
    for (const { name, place } of strangers) {
      if (place === null) await this.#delete(streamName(roomId), name);
      // Its member may have the device again by now.
      else await this.#turns.hold(name, () => this.#reconcile(place, null));
    }
    for (const place of missing) await this.#turns.hold(nameOf(place), () => this.#reconcile(place, false));
  }

  async #delete(stream: string, consumer: string): Promise<void> {
    const reply = await this.deps.js.call<ApiReply>(`CONSUMER.DELETE.${stream}.${consumer}`);
    expectReply(reply, jsCode.consumerNotFound, jsCode.streamNotFound);
  }
}

async function consumerNames(js: JetStream, stream: string): Promise<string[]> {
  const names: string[] = [];
  type Page = ApiReply & { total?: number; consumers?: string[] | null };
  const ask = async (offset: number) =>
    expectReply(await js.call<Page>(`CONSUMER.NAMES.${stream}`, { offset }), jsCode.streamNotFound);
  for await (const { error, consumers } of pages(ask, (page) => page.consumers?.length ?? 0)) {
    if (error !== undefined) return [];
    names.push(...(consumers ?? []));
  }
  return names;
}
