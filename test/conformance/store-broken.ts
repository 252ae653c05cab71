import { expect, test } from "bun:test";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hasCode } from "../../src/contracts/index.ts";
import type { OpenStore, StoreUnderTest } from "./store.ts";
import {
  changeOf,
  epochMs,
  inviteSample,
  keySample,
  peer,
  restorationOf,
  roomIdSample,
  roomSample,
  staySample,
  userSample,
  withStore,
} from "./store-samples.ts";

/** Deadline for a port to answer when its backend is gone, in milliseconds. */
const brokenAnswerMsMax = 10_000;

const roomId = roomIdSample(1);

/** Every port, with a call that succeeds while the backend works. */
const calls: Readonly<Record<string, (store: StoreUnderTest) => Promise<unknown>>> = {
  getUser: ({ users }) => users.getUser(keySample(1)),
  getUserByEndpoint: ({ users }) => users.getUserByEndpoint(peer(1)),
  insertUser: ({ users }) => users.insertUser(userSample(2)),
  replaceUser: ({ users }) => users.replaceUser(userSample(1)),
  deleteUser: ({ users }) => users.deleteUser(keySample(1)),
  listUsers: ({ users }) => users.listUsers(null, 10),
  listActive: ({ users }) => users.listActive({ after: null, limit: 10 }),
  getRoster: ({ users }) => users.getRoster(),
  replaceRoster: ({ users }) => users.replaceRoster({ admins: [keySample(1)], revision: 0 }),
  insertInvite: ({ invites }) => invites.insertInvite(inviteSample(2)),
  getInvite: ({ invites }) => invites.getInvite(inviteSample(1).id),
  claimInvite: ({ invites }) =>
    invites.claimInvite(inviteSample(1).id, { signPub: keySample(1), kexPub: keySample(2), at: 1 }),
  completeInvite: ({ invites }) => invites.completeInvite(inviteSample(1).id, 1),
  deleteInvite: ({ invites }) => invites.deleteInvite(inviteSample(1).id),
  listPendingInvites: ({ invites }) => invites.listPendingInvites(10),
  insertRoom: ({ rooms }) => rooms.insertRoom(roomSample(2)),
  getRoom: ({ rooms }) => rooms.getRoom(roomId),
  findRoomId: ({ rooms }) => rooms.findRoomId("room.number-1"),
  getStay: ({ rooms }) => rooms.getStay(roomId, peer(1)),
  listStays: ({ rooms }) => rooms.listStays(roomId),
  countMembers: ({ rooms }) => rooms.countMembers(roomId),
  listRoomsOf: ({ rooms }) => rooms.listRoomsOf(peer(1)),
  countRoomsBy: ({ rooms }) => rooms.countRoomsBy(peer(1)),
  getSealedKey: ({ rooms }) => rooms.getSealedKey(roomId, peer(1), null),
  listStatements: ({ rooms }) => rooms.listStatements(roomId, 1, 10),
  applyChange: ({ rooms }) => rooms.applyChange(changeOf(roomSample(1).room, { stays: [staySample(2)] })),
  replaceStay: ({ rooms }) =>
    rooms.replaceStay(roomId, { before: staySample(1), after: staySample(1, { leftAt: epochMs }) }),
  rowBytesOf: ({ rooms }) => rooms.rowBytesOf(peer(1)),
  dropKeys: ({ rooms }) => rooms.dropKeys(roomId, null),
  markDeleted: ({ rooms }) => rooms.markDeleted(roomId, 1),
  purgeRoom: ({ rooms }) => rooms.purgeRoom(roomId),
  listRooms: ({ rooms }) => rooms.listRooms(null, 10),
  getWayBack: ({ wayBack }) => wayBack.getWayBack(),
  openWayBack: ({ wayBack }) => wayBack.openWayBack({ openedAt: 1, closesAt: 2 }),
  closeWayBack: ({ wayBack }) => wayBack.closeWayBack(),
  getRestoredHead: ({ wayBack }) => wayBack.getRestoredHead(roomId),
  denyStays: ({ wayBack }) => wayBack.denyStays([{ roomId, endpoint: peer(1), since: 1, leftAt: 1 }]),
  listDeniedStays: ({ wayBack }) => wayBack.listDeniedStays(roomId),
  noteContested: ({ wayBack }) =>
    wayBack.noteContested({ roomId, version: 2, hash: keySample(1), by: keySample(2), at: 1 }),
  listContested: ({ wayBack }) => wayBack.listContested(),
  takeChain: ({ wayBack }) => wayBack.takeChain(roomId, keySample(1)),
  getTakenChain: ({ wayBack }) => wayBack.getTakenChain(roomId),
  restoreRoom: ({ wayBack }) => wayBack.restoreRoom(restorationOf(roomSample(1), 2)),
  exportAll: ({ snapshot }) => Array.fromAsync(snapshot.exportAll()),
  importAll: ({ snapshot }) => snapshot.importAll([{ kind: "user", user: userSample(3) }]),
  backup: ({ snapshot }) => snapshot.backup(join(tmpdir(), `unibus-never-${crypto.randomUUID()}`)),
};

/** Cases for a store that has lost its backend. */
export function brokenCases(open: OpenStore): void {
  test(
    "without its backend every port throws unavailable, within its deadline",
    withStore(open, async (store) => {
      await store.users.insertUser(userSample(1));
      await store.invites.insertInvite(inviteSample(1));
      await store.rooms.insertRoom(roomSample(1));
      await store.breakBackend();
      const begun = performance.now();
      const outcomes = await Promise.all(
        Object.entries(calls).map(async ([name, call]) => {
          const outcome = await call(store).then(
            () => "answered",
            (error: unknown) => (hasCode(error, "unavailable") ? "unavailable" : String(error)),
          );
          return [name, outcome] as const;
        }),
      );
      expect(outcomes.filter(([, outcome]) => outcome !== "unavailable")).toEqual([]);
      expect(performance.now() - begun).toBeLessThan(brokenAnswerMsMax);
    }),
    2 * brokenAnswerMsMax,
  );
}
