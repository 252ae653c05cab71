import { InvalidArgumentError, Option } from "commander";
import { RoomStore } from "../../contracts/store.ts";
import { type ContestedChain, type WayBack, WayBackStore, wayBackDays } from "../../contracts/way-back.ts";
import { UnibusError } from "../../wire/errors.ts";
import { isUlid } from "../../wire/names.ts";
import { takeChainAsAdmin } from "../admin/take-chain.ts";
import { CliCommand } from "../cli-command.ts";
import { identityOption } from "../peer/identity.ts";
import type { PeerOptions } from "../peer/peer.ts";
import { printDone, printFields, printJson, printTable } from "../print.ts";
import { bootOnHost, type HostOptions, hostCommand, hostSetup } from "./host.ts";

const dayMs = 86_400_000;
const time = (ms: number): string => new Date(ms).toISOString();

/** Runs work with the way back and the rooms of a data directory, whether or not a server is running on it. */
async function onStores<T>(
  options: HostOptions,
  work: (wayBack: WayBackStore, rooms: RoomStore) => Promise<T>,
): Promise<T> {
  const { bus, lock } = await bootOnHost(await hostSetup(options), [WayBackStore, RoomStore]);
  try {
    const [wayBack, rooms] = [bus.service(WayBackStore), bus.service(RoomStore)];
    if (wayBack === undefined || rooms === undefined) {
      throw new UnibusError("invalid", "no plugin provides a store (see unibus plan)");
    }
    return await work(wayBack, rooms);
  } finally {
    await bus.stop();
    lock?.release();
  }
}

const isOpen = (state: WayBack | null): state is WayBack => state !== null && Date.now() < state.closesAt;

interface OpenOptions extends HostOptions {
  readonly days: number;
}

async function open(options: OpenOptions): Promise<void> {
  await onStores(options, async (wayBack) => {
    const state = await wayBack.getWayBack();
    if (isOpen(state)) {
      const fix = "unibus way-back close forgets the heads that rooms were restored with";
      throw new UnibusError("conflict", `the way back is open until ${time(state.closesAt)} (${fix})`);
    }
    const openedAt = Date.now();
    const opened = { openedAt, closesAt: openedAt + options.days * dayMs };
    await wayBack.openWayBack(opened);
    printFields({ opened_at: time(openedAt), closes_at: time(opened.closesAt) }, options);
  });
}

async function close(options: HostOptions): Promise<void> {
  await onStores(options, (wayBack) => wayBack.closeWayBack());
  await printDone("the way back is closed", { open: false }, options);
}

async function status(options: HostOptions): Promise<void> {
  await onStores(options, async (wayBack, rooms) => {
    const [state, chains] = await Promise.all([wayBack.getWayBack(), wayBack.listContested()]);
    const row = async ({ roomId, version, hash, by, at }: ContestedChain) => {
      const [room, taken] = await Promise.all([rooms.getRoom(roomId), wayBack.getTakenChain(roomId)]);
      return {
        ...{ room_id: roomId, subject: room?.subject ?? "", version, hash, by, at: time(at), taken: taken === hash },
        ...{ bus_version: room?.version ?? 0, bus_hash: room?.statementHash ?? "" },
      };
    };
    const contested = await Promise.all(chains.map(row));
    const [opened_at, closes_at] = state === null ? ["", ""] : [time(state.openedAt), time(state.closesAt)];
    if (options.json) return printJson({ open: isOpen(state), opened_at, closes_at, contested });
    printFields({ open: isOpen(state), opened_at, closes_at, contested: contested.length });
    const rows = contested.map(({ subject, room_id, version, hash, by, taken, bus_version, bus_hash }) => [
      ...[subject, room_id, `version ${version}`, hash, `offered by ${by}`],
      ...[`the bus: version ${bus_version} ${bus_hash}`, ...(taken ? ["taken"] : [])],
    ]);
    await printTable(["ROOM", "ID", "VERSION", "HASH", "FROM", "INSTEAD OF", "STATE"], rows);
  });
}

interface TakeOptions extends HostOptions, PeerOptions {}

const hashShape = /^[0-9a-f]{64}$/;

async function take(room: string, hash: string, options: TakeOptions): Promise<void> {
  if (!hashShape.test(hash)) throw new InvalidArgumentError(`${hash} is not a hash: it has 64 hex digits.`);
  if (options.url === undefined) {
    await onStores(options, async (wayBack, rooms) => {
      if (!isOpen(await wayBack.getWayBack())) {
        throw new UnibusError("conflict", "the way back is closed (unibus way-back open)");
      }
      const roomId = isUlid(room) ? room : await rooms.findRoomId(room);
      if (roomId === null) throw new UnibusError("not_found", `no such room: ${room} (give its id)`);
      await wayBack.takeChain(roomId, hash);
    });
  } else {
    await takeChainAsAdmin(room, hash, options);
  }
  const note = `the chain that ends with ${hash} is admitted: its owner can now run unibus room repair ${room}`;
  await printDone(note, { room, taken: hash }, options);
}

function daysArgument(text: string): number {
  const days = Number(text);
  if (Number.isInteger(days) && days >= 1 && days <= 366) return days;
  throw new InvalidArgumentError("Days, 1 to 366.");
}

/** The commands `way-back status|open|close|take`. Source: docs/backup.md. */
export function wayBackCommand(): CliCommand {
  const command = new CliCommand("way-back", {
    summary: "let owners repair rooms after a restore from an older backup, even while the server runs",
    example: "unibus way-back status",
  });
  hostCommand(
    command.sub("status", {
      summary: "print whether rooms can be restored, and which chains are contested",
      example: "unibus way-back status",
    }),
  )
    .option("--json", "print JSON")
    .action(status);
  hostCommand(
    command.sub("open", {
      summary: "open the way back after data was restored by other means than unibus restore",
      example: "unibus way-back open --data /var/lib/unibus",
    }),
  )
    .option("--days <days>", "close it after this many days", daysArgument, wayBackDays)
    .option("--json", "print JSON")
    .addHelpText(
      "after",
      "\nRun it before the bus is used again. It records the newest statement of each room: an owner can only add to it.",
    )
    .action(open);
  hostCommand(command.sub("close", { summary: "close the way back", example: "unibus way-back close" }))
    .option("--json", "print JSON")
    .action(close);
  hostCommand(
    command.sub("take", {
      summary: "admit one contested chain of a room, on the host or, with --url, as an admin",
      example: `unibus way-back take room.team ${"5e6f".repeat(16)}`,
    }),
  )
    .argument("<room>", "its id; on the host also its subject")
    .argument("<hash>", "the hash of the chain's newest statement, as status prints it")
    .addOption(
      new Option("--url <urls>", "the bus, to send the request as an admin (default: change the data directory)"),
    )
    .addOption(identityOption())
    .option("--json", "print JSON")
    .action(take);
  return command;
}
