/** The rules by which one open stay changes without a statement: written once, applied by `RoomStore.changeStay`. */
import { devicesMax } from "../wire/api.ts";
import { UnibusError } from "../wire/errors.ts";
import { mainDevice } from "../wire/names.ts";
import type { StayRecord, StayRule } from "./store.ts";

/** Whether the member of a stay is in the room: it is open, and they have not left. */
export function isIn({ until, leftAt }: StayRecord): boolean {
  return until === 0 && leftAt === null;
}

/** Whether a stay is that of an owner who is in. */
export function isOwnerIn(stay: StayRecord): boolean {
  return stay.role === "owner" && isIn(stay);
}

/** Marks a member as having left, whoever they are: for users who are revoked or deleted. */
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

/** Accepts a stay, which is part of its member's grant from then on. A member who left accepts nothing. */
export function accepting(at: number): StayRule {
  return (stay) => (stay.acceptedAt === null && stay.leftAt === null ? { ...stay, acceptedAt: at } : null);
}

/** Gives a member another handle, as `Users.rename` gave it to the user. */
export function renamed(handle: string): StayRule {
  return (stay) => (stay.handle === handle ? null : { ...stay, handle });
}

/**
 * What a store writes of a stay that a version of the room brings, by what it has of that stay: a version changes the
 * signed line and nothing else. A mark that the store has may be newer than what the version says.
 */
export function keptStay(known: StayRecord | undefined, given: StayRecord): StayRecord {
  const { devices, acceptedAt, addedBy, handle } = known ?? given;
  return { ...given, leftAt: known?.leftAt ?? given.leftAt, devices, acceptedAt, addedBy, handle };
}

/** Adds a device. Errors: quota for one too many; the main device counts whether it is there or not. Source: spec 8. */
export function withDevice(device: string): StayRule {
  return (stay) => {
    if (stay.devices.includes(device)) return null;
    if (new Set([...stay.devices, mainDevice, device]).size > devicesMax) {
      const message = `you have ${devicesMax} devices in this room, the most there may be (remove one)`;
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
