/** Mutants of what keeps two requests that meet from leaving a wrong state: second looks, awaits, fences. */
import type { Mutant } from "./mutant.ts";

const races = "test/faults/room-races.test.ts";
const owners = "test/plugins/rooms/owners.test.ts";
const notes = "test/plugins/store-kv/unaccepted-notes.test.ts";
const maker = "src/plugins/room-streams/stream-maker.ts";
const durables = "src/plugins/room-streams/durables.ts";
const users = "src/plugins/users/rules.ts";
const changes = "src/plugins/store-kv/rooms/room-changes.ts";

export const raceMutants: readonly Mutant[] = [
  {
    name: "a stream that was made of a deleted room is removed",
    file: maker,
    search: "if (await this.#isDeleted(room.roomId)) {",
    replace: "if (room.roomId === '') {",
    held: [{ file: races, test: "is free at once, even during" }],
  },
  {
    name: "the stream of a deleted room gives its subject up",
    file: maker,
    search: "if (mayFree && (await this.#free(room.subject)))",
    replace: "if (mayFree && room.subject === '')",
    held: [{ file: races, test: "another node created" }],
  },
  {
    name: "a room is not created without its stream",
    file: "src/plugins/rooms/create.ts",
    search: "if ((await store.findRoomId(subject)) !== null) throw takenSubject(subject);",
    replace: "if ((await store.findRoomId(subject)) !== null) return insert();",
    held: [{ file: races, test: "was freed while it was created" }],
  },
  {
    name: "a durable that was made looks at its stay again",
    file: durables,
    search: "return (await this.#reconcile(place, true)) ? durable : null;",
    replace: "return durable;",
    held: [{ file: races, test: "removed while it is created" }],
  },
  {
    name: "a new durable starts at the oldest message",
    file: durables,
    search: "if (isNew) await this.#remove(place);",
    replace: "",
    held: [{ file: races, test: "added again" }],
  },
  {
    name: "DELETE of a durable waits for its consumer",
    file: "src/plugins/durables/index.ts",
    search: "await streams.unbind(",
    replace: "void streams.unbind(",
    held: [{ file: races, test: "answers when its consumer is deleted" }],
  },
  {
    name: "members who were added are looked up again",
    file: "src/plugins/rooms/members.ts",
    search: "await newcomers.check(room.roomId, added);",
    replace: "",
    held: [{ file: races, test: "while an owner adds them" }],
  },
  {
    name: "the creator of a room is looked up again",
    file: "src/plugins/rooms/create.ts",
    search: "await newcomers.check(room.roomId, [made.stay]);",
    replace: "",
    held: [{ file: races, test: "while they create a room" }],
  },
  {
    name: "a new admin is looked up again",
    file: users,
    search: 'if ((await this.#store.getUser(signPub))?.status !== "active") await this.#quitRoster(signPub);',
    replace: "",
    held: [{ file: races, test: "who is revoked while they become one" }],
  },
  {
    name: "a revoked admin is taken off the roster again",
    file: users,
    search: 'if (role === "admin") await this.#quitRoster(signPub);',
    replace: "",
    held: [{ file: races, test: "while they are being revoked" }],
  },
  {
    name: "the durables of a revoked user go",
    file: users,
    search: "if (room.policy.persist) this.#streams?.settle(room);",
    replace: "",
    held: [{ file: races, test: "revoked or deleted user are deleted" }],
  },
  {
    name: "a user who is deleted leaves the rooms first",
    file: users,
    search: "await this.#takeAccess(user);\n    await this.#store.deleteUser(user.signPub);",
    replace: "await this.#store.deleteUser(user.signPub);\n    await this.#leaveRooms(user.endpoint);",
    held: [{ file: races, test: "interrupted deletion of a user" }],
  },
  {
    name: "sweeps settle rooms that a member left",
    file: "src/plugins/room-streams/sweep.ts",
    search: "(isFirst || room.rekeyPending)",
    replace: "isFirst",
    held: [{ file: "test/faults/orphans.test.ts", test: "consumers of departed members" }],
  },
  {
    name: "an add that lost its race takes its index entries back",
    file: changes,
    search: "if (isIndexed) await this.#dropEntries(roomId, [...open], version);",
    replace: "",
    held: [{ file: notes, test: "another change comes first" }],
  },
  {
    name: "only new stays are indexed",
    file: changes,
    search: "await sideBySide(added, async (stay) => {",
    replace: "await sideBySide(change.stays, async (stay) => {",
    held: [{ file: notes, test: "accepted since it was read" }],
  },
  {
    name: "no stay of a deleted room changes, KV",
    file: changes,
    search: "room.deletedAt !== null || revision !== (change.revision ?? revision)",
    replace: "revision !== (change.revision ?? revision)",
    held: [{ file: "test/conformance/run.test.ts", test: "tombstone" }],
  },
  {
    name: "no stay of a deleted room changes, SQLite",
    file: "src/plugins/store-sqlite/rooms.ts",
    search: "WHERE rooms.room_id = $roomId AND deleted_at IS NULL",
    replace: "WHERE rooms.room_id = $roomId",
    held: [{ file: "test/conformance/run.test.ts", test: "tombstone" }],
  },
  {
    name: "a member who leaves is no longer counted as unaccepted",
    file: changes,
    search: "if (isUnaccepted(before) && !isUnaccepted(after))",
    replace: "if (isAcceptance(change))",
    held: [{ file: notes, test: "does not count as unaccepted" }],
  },
  {
    name: "an owner's departure compares the room's revision",
    file: "src/plugins/rooms/membership.ts",
    search: "...(isOwner && { revision })",
    replace: "",
    held: [{ file: owners, test: "leaves on another node stays" }],
  },
  {
    name: "a departure advances the room's revision, SQLite",
    file: "src/plugins/store-sqlite/rooms.ts",
    search: "if (after.leftAt !== leftAt) depart.run(roomId);",
    replace: "",
    held: [{ file: owners, test: "changes nothing, even as its last owner" }],
  },
  {
    name: "an owner's departure compares the room's revision, KV",
    file: changes,
    search: "|| revision !== (change.revision ?? revision)",
    replace: "",
    held: [{ file: owners, test: "leaves on another node stays" }],
  },
  {
    name: "a statement that a departure came before is judged again",
    file: "src/plugins/rooms/statements.ts",
    search: "if (!isRefusal && !(error instanceof Overtaken)) throw error;",
    replace: "if (!isRefusal) throw error;",
    held: [{ file: owners, test: "is stored all the same" }],
  },
  {
    name: "an invite is completed after its user exists",
    file: "src/plugins/invites/rules.ts",
    search: "if (!this.#store.commitsTogether) await added;",
    replace: "",
    held: [{ file: "test/plugins/invites/completion.test.ts", test: "only after its user exists" }],
  },
];
