/** The store's state after a race, read once, so that every check compares with the same state. */

import type { Identity } from "../../../src/client/crypto/identity.ts";
import { isIn } from "../../../src/contracts/stay-rules.ts";
import {
  type RoomRecord,
  RoomStore,
  type StatementRecord,
  type StayRecord,
  UserStore,
} from "../../../src/contracts/store.ts";
import { serviceOf } from "../in-process.ts";
import type { Scene } from "./scene.ts";

/** A room as the store has it. */
export interface StoredRoom {
  readonly record: RoomRecord | null;
  readonly stays: readonly StayRecord[];
  readonly statements: readonly StatementRecord[];
}

/** The state after a race. */
export interface Truth {
  readonly room: StoredRoom;
  readonly isLive: boolean;
  /** Whether a user is active, by endpoint. */
  readonly active: ReadonlyMap<string, boolean>;
}

/** Reads a room from the store of the first node. */
export async function storedRoom({ stage }: Scene, roomId: string): Promise<StoredRoom> {
  const [node] = stage.nodes;
  const rooms = serviceOf(node, RoomStore);
  const [record, stays, statements] = await Promise.all([
    rooms.getRoom(roomId),
    rooms.listStays(roomId),
    rooms.listStatements(roomId, 1, 1_000),
  ]);
  return { record, stays, statements };
}

/** Reads the state after a race. */
export async function truthOf(scene: Scene): Promise<Truth> {
  const { stage, room, owner, member, candidate, newcomer } = scene;
  const [node] = stage.nodes;
  const users = serviceOf(node, UserStore);
  const isActive = async ({ endpoint }: Identity) =>
    [endpoint, (await users.getUserByEndpoint(endpoint))?.status === "active"] as const;
  const [stored, ...active] = await Promise.all([
    storedRoom(scene, room.state.roomId),
    ...[owner, member, candidate, newcomer].map(isActive),
  ]);
  return { room: stored, isLive: stored.record?.deletedAt === null, active: new Map(active) };
}

/** Returns the current membership period of a member, or null. */
export function stayIn({ stays }: StoredRoom, { endpoint }: Identity): StayRecord | null {
  return stays.find((stay) => stay.endpoint === endpoint && isIn(stay)) ?? null;
}
