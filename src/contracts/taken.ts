/** Errors for a room id or a subject that is already taken. The rules, streams and stores share them. */
import { UnibusError } from "../wire/errors.ts";

/** The error for a subject that belongs to another room. */
export function takenSubject(subject: string): UnibusError {
  return new UnibusError("conflict", `the subject ${subject} belongs to another room (choose another subject)`);
}

/** The error for a room id that belongs to a room, or belonged to one that was deleted. */
export function takenRoomId(roomId: string, isDeleted: boolean): UnibusError {
  return isDeleted
    ? new UnibusError("gone", `the room id ${roomId} belonged to a deleted room (generate a new one)`)
    : new UnibusError("conflict", `the room id ${roomId} belongs to another room (generate a new one)`);
}
