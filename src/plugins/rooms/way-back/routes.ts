/**
 * Routes of the way back: restoring rooms on a bus that was restored from an older backup.
 * An operator opens the way back for a limited time. Until it closes, an owner may upload the versions of a room that
 * the bus lost (restoring.ts verifies and stores them, one restoration at a time). If a chain conflicts with the bus's
 * own, the restoration is refused as contested until an admin admits one of the chains.
 */
import { audit } from "../../../contracts/audit.ts";
import type { Notices } from "../../../contracts/notices.ts";
import { type Route, route } from "../../../contracts/plugin.ts";
import { isIn } from "../../../contracts/stay-rules.ts";
import type { RoomRecord, StayRecord } from "../../../contracts/store.ts";
import type { WayBackStore } from "../../../contracts/way-back.ts";
import { UnibusError } from "../../../wire/errors.ts";
import { routes } from "../../../wire/routes.ts";
import { gone, type RoomsContext } from "../context.ts";
import { notifyMembers } from "../membership.ts";
import { readRestoration } from "./body.ts";
import { Restoring, restorationSlices } from "./restoring.ts";
import { RestorationTurn } from "./turn.ts";

/** How many contested chains one report contains. */
const contestedShown = 1_000;

const time = (ms: number): string => new Date(ms).toISOString();

/** Whether rooms can be restored now. */
async function isOpen(wayBack: WayBackStore, now: number): Promise<boolean> {
  const state = await wayBack.getWayBack();
  return state !== null && now < state.closesAt;
}

/**
 * Notifies all former and current members of a restored room, and disconnects those who used it before the restoration,
 * so that they read the current state.
 */
function notifyOfRestoration(
  notices: Notices,
  { roomId, subject }: RoomRecord,
  before: readonly StayRecord[],
  after: readonly StayRecord[],
): void {
  const [was, is] = [before, after].map((stays) => new Set(stays.map(({ endpoint }) => endpoint)));
  const [isOld, isStill] = [
    ({ endpoint }: StayRecord) => was?.has(endpoint),
    ({ endpoint }: StayRecord) => is?.has(endpoint),
  ];
  notifyMembers(
    notices,
    before.filter((stay) => !isStill(stay)),
    "removed",
    roomId,
  );
  notifyMembers(
    notices,
    after.filter((stay) => isOld(stay)),
    "rekeyed",
    roomId,
  );
  notifyMembers(
    notices,
    after.filter((stay) => !isOld(stay)),
    "joined",
    roomId,
  );
  notices.disconnect(was ?? [], subject);
}

const closed = () =>
  new UnibusError("conflict", "the way back is closed (ask the operator to run unibus way-back open)");

/** The route by which an owner restores a room. */
function restoreRoutes(parts: RoomsContext): Route[] {
  const { wayBack, rules, streams, notices, log } = parts;
  const restoring = new Restoring(parts);
  const turn = new RestorationTurn();
  return [
    route(routes.rooms.restore, async (call) => {
      const { id } = call.params;
      const { caller } = call;
      if (!(await isOpen(wayBack, rules.now()))) throw closed();
      const { room, before, after } = await turn.take(caller, async () => {
        const slices = restorationSlices();
        return restoring.restore(id, await readRestoration(call.stream, slices), caller, slices);
      });
      if (room.policy.persist) streams?.settle(room);
      notifyOfRestoration(notices, room, before.filter(isIn), after.filter(isIn));
      audit(log, "room_restored", call, { room_id: id, version: room.version });
      return { version: room.version };
    }),
  ];
}

/** The routes by which admins see and settle contested chains. */
function reportRoutes({ store, wayBack, rules, log }: RoomsContext): Route[] {
  return [
    route(routes.rooms.wayBack, async () => {
      const [state, chains] = await Promise.all([wayBack.getWayBack(), wayBack.listContested()]);
      const contested = await Promise.all(
        chains.slice(0, contestedShown).map(async ({ roomId, version, hash, by, at }) => {
          const [room, taken] = await Promise.all([store.getRoom(roomId), wayBack.getTakenChain(roomId)]);
          const subject = room?.subject ?? null;
          return { room_id: roomId, subject, version, hash, by, at: time(at), taken: taken === hash };
        }),
      );
      const [opened_at, closes_at] = state === null ? [null, null] : [time(state.openedAt), time(state.closesAt)];
      return {
        open: await isOpen(wayBack, rules.now()),
        opened_at,
        closes_at,
        contested,
        more: chains.length > contestedShown,
      };
    }),
    route(routes.rooms.takeChain, async (call) => {
      const room = await store.getRoom(call.params.id);
      if (room === null) throw new UnibusError("not_found", "no such room");
      if (room.deletedAt !== null) throw gone();
      if (!(await isOpen(wayBack, rules.now()))) throw closed();
      const { hash } = await call.read();
      await wayBack.takeChain(call.params.id, hash);
      audit(log, "chain_admitted", call, { room_id: call.params.id, hash });
      return undefined;
    }),
  ];
}

/** The routes that restore rooms on a bus that was itself restored from an older backup. */
export function wayBackRoutes(parts: RoomsContext): Route[] {
  return [...restoreRoutes(parts), ...reportRoutes(parts)];
}
