/**
 * Rules that change one open stay without a statement, and the loop that applies them to any store. A store only
 * compares and sets: when another change of the stay came first, the rule is asked again about the stay as it is now.
 */
import { devicesMax } from "../wire/api.ts";
import { UnibusError } from "../wire/errors.ts";
import { mainDevice } from "../wire/names.ts";
import type { RoomStore, StayRecord } from "./store.ts";

/** How often a change that lost to another one is repeated. */
const attemptsMax = 100;

/**
 * A function that changes an open stay: returns it with another `leftAt`, `devices`, `acceptedAt` or `handle`, or null
 * to leave it unchanged. Pure; called again if another change came first.
 * Errors: it throws to refuse the change.
 */
export type StayRule = (stay: StayRecord) => StayRecord | null;

/**
 * Changes the open stay of a member of a live room by a rule. Returns the new stay, or null if there is no open stay,
 * the room was deleted, or the rule leaves the stay unchanged. `known` is the stay if the caller has just read it.
 * Errors: those of the rule; unavailable.
 */
export async function changeStay(
  store: Pick<RoomStore, "getRoom" | "getStay" | "replaceStay">,
  { roomId, endpoint, known }: { readonly roomId: string; readonly endpoint: string; readonly known?: StayRecord },
  rule: StayRule,
): Promise<StayRecord | null> {
  let before = known ?? (await store.getStay(roomId, endpoint));
  for (let tries = 0; tries < attemptsMax; tries++) {
    const after = before && rule(before);
    if (before === null || after === null) return null;
    if (await store.replaceStay(roomId, { before, after })) return after;
    const [room, stay] = await Promise.all([store.getRoom(roomId), store.getStay(roomId, endpoint)]);
    if (room === null || room.deletedAt !== null) return null;
    before = stay;
  }
  throw new UnibusError("unavailable", "too many changes at once (try again)");
}

/** Reports whether the member of a stay is in the room now: the stay is open, and they have not left. */
export function isIn({ until, leftAt }: StayRecord): boolean {
  return until === 0 && leftAt === null;
}

/** Reports whether two records of the same member are the same stay in the same state. */
export function isSameStay(one: StayRecord, other: StayRecord): boolean {
  const state = ({ endpoint, since, until, role, handle, leftAt, acceptedAt, addedBy, devices }: StayRecord) =>
    JSON.stringify([endpoint, since, until, role, handle, leftAt, acceptedAt, addedBy, devices]);
  return state(one) === state(other);
}

/** Reports whether a stay is that of a current owner. */
export function isOwnerIn(stay: StayRecord): boolean {
  return stay.role === "owner" && isIn(stay);
}

/** Marks a member as having left, even the last owner: for users who are revoked or deleted. */
export function leaving(at: number): StayRule {
  return (stay) => (stay.leftAt === null ? { ...stay, leftAt: at } : null);
}

/** Accepts a stay, so that the member's grant covers the room. Has no effect on a member who left. */
export function accepting(at: number): StayRule {
  return (stay) => (stay.acceptedAt === null && stay.leftAt === null ? { ...stay, acceptedAt: at } : null);
}

/** Changes a member's handle after `Users.rename` changed the user's. */
export function renamed(handle: string): StayRule {
  return (stay) => (stay.handle === handle ? null : { ...stay, handle });
}

/**
 * Merges a stay from a new version of the room with the stored one. A version only changes the signed fields: the store
 * keeps its own devices, acceptance, adder, handle and `leftAt` mark.
 */
export function keptStay(known: StayRecord | undefined, given: StayRecord): StayRecord {
  const { devices, acceptedAt, addedBy, handle } = known ?? given;
  return { ...given, leftAt: known?.leftAt ?? given.leftAt, devices, acceptedAt, addedBy, handle };
}

/**
 * Adds a device. Errors: quota above the limit; the main device counts even if it does not exist.
 * Source: docs/protocol/durables.md.
 */
export function withDevice(device: string): StayRule {
  return (stay) => {
    if (stay.devices.includes(device)) return null;
    if (new Set([...stay.devices, mainDevice, device]).size > devicesMax) {
      const message = `device limit reached: ${devicesMax} devices in this room (remove one)`;
      throw new UnibusError("quota", message);
    }
    return { ...stay, devices: [...stay.devices, device].sort() };
  };
}

/** Removes a device. */
export function withoutDevice(device: string): StayRule {
  return (stay) =>
    stay.devices.includes(device) ? { ...stay, devices: stay.devices.filter((name) => name !== device) } : null;
}
