/**
 * Creates, repairs and removes the streams of rooms. A deleted room ends up without a stream, even if requests race on
 * several nodes, because each creator of a stream reads its room again afterwards. If a node crashes in between, the
 * stream is removed when another room wants its subject.
 */
import type { Replicas } from "../../contracts/replicas.ts";
import type { RoomStore } from "../../contracts/store.ts";
import type { StreamRoom } from "../../contracts/streams.ts";
import { takenSubject } from "../../contracts/taken.ts";
import { retry } from "../../lib/retry.ts";
import { type ApiReply, type JetStream, jsCode } from "../../nats/jetstream.ts";
import { UnibusError } from "../../wire/errors.ts";
import { isUlid, streamName } from "../../wire/names.ts";
import { type RoomStreamConfig, roomStreamConfig } from "../../wire/room-stream.ts";
import { expectReply, isElection, refuseLeaderless } from "./errors.ts";
import type { StreamInfo } from "./stream-info.ts";

/**
 * How long the creation of a stream is tried while its leader is elected, in milliseconds: nats-server takes 4 to 9 s
 * where one of three nodes is gone. Making it again changes nothing. Source: docs/protocol/history.md.
 */
const electionMs = 12_000;
/** How long one of those tries may take, and the pause between two, in milliseconds. */
const electionTryMs = 3_000;
const electionPauseMs = 100;
/** Configuration fields that the byte limit changes after a room's creation. */
const changedLater = new Set<string>(["max_bytes", "discard"]);

/** The id of the room that a stream belongs to; null for another kind of stream. */
function roomIdOf(stream: string): string | null {
  const roomId = stream.slice(streamName("").length);
  return stream.startsWith(streamName("")) && isUlid(roomId) ? roomId : null;
}

/**
 * Reports whether a stream has the configuration that its room requires. Earlier versions created streams that cannot
 * erase messages, which JetStream never allows to change: those are right as they are.
 */
function isRight(info: StreamInfo, wanted: RoomStreamConfig): boolean {
  const same = { ...wanted, deny_delete: info.config.deny_delete === true };
  return Object.entries(same).every(
    ([key, value]) => changedLater.has(key) || JSON.stringify(info.config[key] ?? false) === JSON.stringify(value),
  );
}

/** The dependencies of the stream maker. */
export interface StreamMakerParts {
  readonly js: JetStream;
  readonly rooms: RoomStore;
  readonly replicas: Replicas | undefined;
}

/** Creates, repairs and removes the streams of rooms. */
export class StreamMaker {
  constructor(private readonly parts: StreamMakerParts) {}

  /**
   * Creates a room's stream, or repairs its configuration but keeps its byte limit. If the room is deleted during this
   * call, no stream is left. Errors: conflict, gone, unavailable.
   */
  async make(room: StreamRoom): Promise<StreamInfo> {
    const [made] = await Promise.allSettled([this.#createElected(room)]);
    if (await this.#isDeleted(room.roomId)) {
      await this.remove(room.roomId);
      throw new UnibusError("gone", "this room was deleted (create another one)");
    }
    if (made.status === "rejected") throw made.reason;
    return made.value;
  }

  /** The state of a room's stream, which is created if it is missing. Errors: those of `make`. */
  async ensured(room: StreamRoom): Promise<StreamInfo> {
    const name = streamName(room.roomId);
    const info = expectReply(await this.parts.js.call<StreamInfo>(`STREAM.INFO.${name}`), jsCode.streamNotFound);
    if (info.error !== undefined) return this.make(room);
    return isRight(info, await this.#configOf(room)) ? info : this.make(room);
  }

  /** Removes a room's stream. Idempotent. Errors: unavailable. */
  async remove(roomId: string): Promise<void> {
    expectReply(await this.parts.js.call<ApiReply>(`STREAM.DELETE.${streamName(roomId)}`), jsCode.streamNotFound);
  }

  async #configOf({ roomId, subject }: StreamRoom): Promise<RoomStreamConfig> {
    const replicas = (await this.parts.replicas?.count()) ?? 1;
    return roomStreamConfig({ roomId, subject, replicas, bytesMax: -1, whenFull: "refuse" });
  }

  /** Whether streams have copies, and thus elect leaders. */
  async isClustered(): Promise<boolean> {
    return ((await this.parts.replicas?.count()) ?? 1) > 1;
  }

  /** Creates a stream and waits until it has a leader. A single node elects none: no reply means that it hangs. */
  async #createElected(room: StreamRoom): Promise<StreamInfo> {
    if (!(await this.isClustered())) return this.#create(room);
    const create = async (leftMs: number) =>
      refuseLeaderless(await this.#create(room, { withinMs: Math.min(leftMs, electionTryMs) }));
    return retry(create, { withinMs: electionMs, pauseMs: electionPauseMs, isPassing: isElection });
  }

  async #create(
    room: StreamRoom,
    { withinMs, mayFree = true }: { withinMs?: number | undefined; mayFree?: boolean } = {},
  ): Promise<StreamInfo> {
    const config = await this.#configOf(room);
    const expected = [jsCode.nameInUse, jsCode.subjectsOverlap];
    const made = expectReply(
      await this.parts.js.call<StreamInfo>(`STREAM.CREATE.${config.name}`, config, withinMs),
      ...expected,
    );
    if (made.error === undefined) return made;
    if (made.error.err_code === jsCode.nameInUse) return this.#fix(config, withinMs);
    if (mayFree && (await this.#free(room.subject))) return this.#create(room, { withinMs, mayFree: false });
    throw takenSubject(room.subject);
  }

  /** Repairs an existing stream whose configuration differs. */
  async #fix(config: RoomStreamConfig, withinMs?: number): Promise<StreamInfo> {
    const { js } = this.parts;
    const info = expectReply(await js.call<StreamInfo>(`STREAM.INFO.${config.name}`, "", withinMs));
    if (isRight(info, config)) return info;
    const { max_bytes, discard, deny_delete } = info.config;
    const kept = { max_bytes, discard, deny_delete };
    return expectReply(await js.call<StreamInfo>(`STREAM.UPDATE.${config.name}`, { ...config, ...kept }));
  }

  /** Removes streams that hold a subject although their rooms were deleted. Returns whether there were any. */
  async #free(subject: string): Promise<boolean> {
    const query = { subject, offset: 0 };
    const reply = expectReply(await this.parts.js.call<ApiReply & { streams: string[] | null }>("STREAM.NAMES", query));
    let isFreed = false;
    for (const name of reply.streams ?? []) {
      const roomId = roomIdOf(name);
      if (roomId === null || !(await this.#isDeleted(roomId))) continue;
      await this.remove(roomId);
      isFreed = true;
    }
    return isFreed;
  }

  async #isDeleted(roomId: string): Promise<boolean> {
    const room = await this.parts.rooms.getRoom(roomId);
    return room !== null && room.deletedAt !== null;
  }
}
