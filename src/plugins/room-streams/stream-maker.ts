/**
 * Makes, fixes and removes the streams of rooms. A deleted room is left without a stream whatever runs at the same
 * time, on one node or on several, because each maker of a stream reads its room again afterwards. If a node dies in
 * between, the stream is removed as soon as another room wants its subject.
 */
import type { Replicas } from "../../contracts/replicas.ts";
import type { RoomStore } from "../../contracts/store.ts";
import type { StreamRoom } from "../../contracts/streams.ts";
import { takenSubject } from "../../contracts/taken.ts";
import { UnibusError } from "../../wire/errors.ts";
import { isUlid, streamName } from "../../wire/names.ts";
import { type RoomStreamConfig, roomStreamConfig } from "../../wire/room-stream.ts";
import { type ApiReply, type JetStream, jsCode, refuseOthers, type StreamInfo } from "./jetstream.ts";

/** Fields that the byte limit of a room changes after its creation. */
const changedLater = new Set<string>(["max_bytes", "discard"]);

/** The room whose stream that is; null for a stream of another kind. */
function roomIdOf(stream: string): string | null {
  const roomId = stream.slice(streamName("").length);
  return stream.startsWith(streamName("")) && isUlid(roomId) ? roomId : null;
}

/** Whether a stream has the configuration that a room's must have. */
function isRight(info: StreamInfo, wanted: RoomStreamConfig): boolean {
  return Object.entries(wanted).every(
    ([key, value]) => changedLater.has(key) || JSON.stringify(info.config[key]) === JSON.stringify(value),
  );
}

/** What streams are made with. */
export interface StreamMakerParts {
  readonly js: JetStream;
  readonly rooms: RoomStore;
  readonly replicas: Replicas | undefined;
}

/** The streams of rooms. */
export class StreamMaker {
  constructor(private readonly parts: StreamMakerParts) {}

  /**
   * Makes a room's stream, or brings it in line, but keeps what the byte limit set. If the room is deleted meanwhile,
   * no stream is left. Errors: conflict, gone, unavailable.
   */
  async make(room: StreamRoom): Promise<StreamInfo> {
    const [made] = await Promise.allSettled([this.#create(room)]);
    if (await this.#isDeleted(room.roomId)) {
      await this.remove(room.roomId);
      throw new UnibusError("gone", "this room was deleted (its id is never used again)");
    }
    if (made.status === "rejected") throw made.reason;
    return made.value;
  }

  /** The state of a room's stream, which is made where it is not there. Errors: those of `make`. */
  async ensured(room: StreamRoom): Promise<StreamInfo> {
    const name = streamName(room.roomId);
    const info = refuseOthers(await this.parts.js.call<StreamInfo>(`STREAM.INFO.${name}`), jsCode.streamNotFound);
    if (info.error !== undefined) return this.make(room);
    return isRight(info, await this.#configOf(room)) ? info : this.make(room);
  }

  /** Removes a room's stream. Idempotent. Errors: unavailable. */
  async remove(roomId: string): Promise<void> {
    refuseOthers(await this.parts.js.call<ApiReply>(`STREAM.DELETE.${streamName(roomId)}`), jsCode.streamNotFound);
  }

  async #configOf({ roomId, subject }: StreamRoom): Promise<RoomStreamConfig> {
    const replicas = (await this.parts.replicas?.count()) ?? 1;
    return roomStreamConfig({ roomId, subject, replicas, bytesMax: -1, whenFull: "refuse" });
  }

  async #create(room: StreamRoom, mayFree = true): Promise<StreamInfo> {
    const config = await this.#configOf(room);
    const expected = [jsCode.nameInUse, jsCode.subjectsOverlap];
    const made = refuseOthers(
      await this.parts.js.call<StreamInfo>(`STREAM.CREATE.${config.name}`, config),
      ...expected,
    );
    if (made.error === undefined) return made;
    if (made.error.err_code === jsCode.nameInUse) return this.#fix(config);
    if (mayFree && (await this.#free(room.subject))) return this.#create(room, false);
    throw takenSubject(room.subject);
  }

  /** The stream is there with another configuration. */
  async #fix(config: RoomStreamConfig): Promise<StreamInfo> {
    const { js } = this.parts;
    const info = refuseOthers(await js.call<StreamInfo>(`STREAM.INFO.${config.name}`));
    if (isRight(info, config)) return info;
    const { max_bytes, discard } = info.config;
    return refuseOthers(await js.call<StreamInfo>(`STREAM.UPDATE.${config.name}`, { ...config, max_bytes, discard }));
  }

  /** Removes streams that hold a subject although their rooms were deleted. Gives whether there were any. */
  async #free(subject: string): Promise<boolean> {
    const query = { subject, offset: 0 };
    const reply = refuseOthers(
      await this.parts.js.call<ApiReply & { streams: string[] | null }>("STREAM.NAMES", query),
    );
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
