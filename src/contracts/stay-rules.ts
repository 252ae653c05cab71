/**
 * Rules that change one open stay without a statement. They are written once, here; stores apply them in
 * `RoomStore.changeStay`.
 */
import { devicesMax } from "../wire/api.ts";
import { UnibusError } from "../wire/errors.ts";
import { mainDevice } from "../wire/names.ts";
import type { StayRecord, StayRule } from "./store.ts";

/** Reports whether the member of a stay is in the room now: the stay is open, and they have not left. */
export function isIn({ until, leftAt }: StayRecord): boolean {
  return until === 0 && leftAt === null;
}

/** Reports whether a stay is that of a current owner. */
export function isOwnerIn(stay: StayRecord): boolean {
  return stay.role === "owner" && isIn(stay);
}

/** Marks a member as having left, even the last owner: for users who are revoked or deleted. */
export function leaving(at: number): StayRule {
  return (stay) => (stay.leftAt === null ? { ...stay, leftAt: at } : null);
}

/** Marks a member as having left. Errors: conflict for the last owner. */
export function leavingUnlessLast(at: number): StayRule {
  return (stay, ownersIn) => {
    if (stay.leftAt === null && isOwnerIn(stay) && ownersIn === 1) {
      throw new UnibusError("conflict", "the last owner cannot leave (make another member an owner first)");
    }
    return leaving(at)(stay, ownersIn);
  };
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
 * Merges a stay from a new version of the room with the stored one. A version only changes the signed fields, so the
 * store keeps its own devices, acceptance, adder and handle. It also keeps its own `leftAt` mark, which may be newer
 * than the version.
 */
export function keptStay(known: StayRecord | undefined, given: StayRecord): StayRecord {
  const { devices, acceptedAt, addedBy, handle } = known ?? given;
  return { ...given, leftAt: known?.leftAt ?? given.leftAt, devices, acceptedAt, addedBy, handle };
}

/** Adds a device. Errors: quota above the limit; the main device counts even if it does not exist. Source: spec 8. */
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
