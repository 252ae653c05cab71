import type { Bus, DirectPeer, Policy, RoomEntry } from "../../client/index.ts";
import { isDirectForm } from "../../client/rooms/direct-watch.ts";
import { CliCommand } from "../cli-command.ts";
import { printJson, printNote, printTable } from "../print.ts";
import { asReader, nameText, type PeerOptions, peerCommand } from "./peer.ts";

/** Describes a policy in words; `plain` if everything is off. */
export function policyText({ encrypt, persist, sign_msgs }: Policy): string {
  const on = [encrypt && "encrypted", persist && "persisted", sign_msgs && "signed"].filter(Boolean);
  return on.join(",") || "plain";
}

function rowOf(room: RoomEntry, directs: ReadonlyMap<string, DirectPeer>) {
  const { id, subject, role, policy, epoch, rekeyPending, accepted, live, addedBy } = room;
  const direct = directs.get(id);
  return {
    ...{ room_id: id, subject, role, epoch, policy, rekey_pending: rekeyPending },
    ...{ accepted, live, added_by: addedBy },
    ...(direct === undefined ? {} : { direct: { handle: direct.handle, endpoint: direct.endpoint } }),
  };
}

/** The other person of each direct room, by room id. */
async function directsOf(bus: Bus, rooms: readonly RoomEntry[], signal: AbortSignal): Promise<Map<string, DirectPeer>> {
  const candidates = rooms.filter((room) => room.accepted && isDirectForm(room));
  const found = await Promise.all(
    candidates.map(async ({ id }): Promise<[string, DirectPeer][]> => {
      // A room that cannot be opened is listed by its subject, as others are.
      const peer = await bus.room(id, signal).then(
        (room) => room.direct,
        () => null,
      );
      return peer === null ? [] : [[id, peer]];
    }),
  );
  signal.throwIfAborted();
  return new Map(found.flat());
}

/** How many of the users who added this peer are looked up. */
const addersMax = 20;

/** The handles of users who added this peer to rooms that it has not accepted, by endpoint. */
async function addersOf(bus: Bus, rooms: readonly RoomEntry[], signal: AbortSignal): Promise<Map<string, string>> {
  const waiting = rooms.filter(({ accepted }) => !accepted).flatMap(({ addedBy }) => addedBy ?? []);
  const adders = [...new Set(waiting)].slice(0, addersMax);
  // A user who was deleted has no handle.
  const named = await Promise.all(
    adders.map((endpoint) =>
      bus.directory.find([endpoint], signal).then(
        ([found]) => [endpoint, found?.handle ?? endpoint] as const,
        () => [endpoint, endpoint] as const,
      ),
    ),
  );
  return new Map(named);
}

/** The remarks on a room in the list. */
function remarksOf(
  { rekeyPending, accepted, live, addedBy }: RoomEntry,
  adders: ReadonlyMap<string, string>,
  direct: DirectPeer | undefined,
): string[] {
  const by = addedBy === null ? "" : ` (added by ${adders.get(addedBy) ?? addedBy})`;
  return [
    ...(direct === undefined ? [] : [`direct with ${nameText(direct)}`]),
    ...(rekeyPending ? ["rekey pending"] : []),
    ...(accepted ? [] : [`not accepted${by}`]),
    ...(accepted && !live ? ["not live: leave other rooms"] : []),
  ];
}

async function printRooms(bus: Bus, options: PeerOptions, signal: AbortSignal): Promise<void> {
  const rooms = await bus.rooms(signal);
  const directs = await directsOf(bus, rooms, signal);
  if (options.json) return printJson({ rooms: rooms.map((room) => rowOf(room, directs)) });
  if (rooms.length === 0)
    printNote("you are not in any room yet (create one: unibus room new room.NAME; or ask an owner to add you)");
  const adders = await addersOf(bus, rooms, signal);
  const rows = rooms.map((room) => [
    ...[room.id, room.subject, room.role, `epoch ${room.epoch}`, policyText(room.policy)],
    ...remarksOf(room, adders, directs.get(room.id)),
  ]);
  await printTable(["ID", "ROOM", "ROLE", "EPOCH", "POLICY", "STATE", "", "", ""], rows);
  const waiting = rooms.filter(({ accepted }) => !accepted).length;
  if (waiting > 0)
    printNote(`not accepted: ${waiting} (to take part: unibus room accept ROOM; to decline: unibus room leave ROOM)`);
}

/** The command `rooms`, which lists the rooms of this peer. */
export function roomsCommand(): CliCommand {
  return peerCommand(
    new CliCommand("rooms", {
      summary: "list your rooms, including those that you were added to and have not accepted",
      example: "unibus rooms",
    }),
  )
    .option("--json", "print JSON")
    .action((options: PeerOptions) => asReader(options, (bus, signal) => printRooms(bus, options, signal)));
}
