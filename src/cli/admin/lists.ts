import type { Admin } from "../../client/index.ts";
import type { CliCommand } from "../cli-command.ts";
import { asReader, type PeerOptions, peerCommand } from "../peer/peer.ts";
import { printJson, printNote, printTable } from "../print.ts";

/** A list that admins read: its name, its columns, and how it is read and printed. */
interface List<T> {
  readonly name: string;
  readonly summary: string;
  /** The note if there are none. */
  readonly none: string;
  readonly columns: readonly string[];
  readonly read: (admin: Admin, signal: AbortSignal) => AsyncIterable<T>;
  readonly cells: (row: T) => readonly string[];
}

const count = (number: number | null): string => (number === null ? "-" : String(number));

async function print<T>({ name, none, columns, read, cells }: List<T>, options: PeerOptions): Promise<void> {
  await asReader(options, async (bus, signal) => {
    const rows = read(bus.admin, signal);
    if (options.json) return printJson({ [name]: await Array.fromAsync(rows) });
    const lines = async function* () {
      for await (const row of rows) yield cells(row);
    };
    if ((await printTable(columns, lines())) === 0) printNote(none);
  });
}

function add<T>(admin: CliCommand, list: List<T>): void {
  const { name, summary } = list;
  peerCommand(admin.sub(name, { summary, example: `unibus admin ${name} --json` }))
    .option("--json", "print JSON")
    .action((options: PeerOptions) => print(list, options));
}

/** Adds the commands `admin rooms|connections|usage`. */
export function addListCommands(command: CliCommand): void {
  add(command, {
    name: "rooms",
    summary: "list every room: subject, id, members, stored messages and bytes; never their content",
    none: "no rooms yet",
    columns: ["SUBJECT", "ROOM", "MEMBERS", "MESSAGES", "BYTES", "CREATED"],
    read: (admin, signal) => admin.rooms({ signal }),
    cells: (room) => [
      ...[room.subject, room.room_id, count(room.members), count(room.messages), count(room.bytes)],
      room.created_at,
    ],
  });
  add(command, {
    name: "connections",
    summary: "list who is connected to the node that answers: handle, endpoint, address and since when",
    none: "no client is connected to this node",
    columns: ["HANDLE", "ENDPOINT", "ADDRESS", "SINCE"],
    read: (admin, signal) => admin.connections({ signal }),
    cells: ({ handle, endpoint, address, since }) => [handle ?? "?", endpoint, address ?? "?", since],
  });
  add(command, {
    name: "usage",
    summary: "list what each user takes of the quotas: rooms, bytes of rows and blobs, connections",
    none: "no users yet",
    columns: ["HANDLE", "STATUS", "ROOMS", "ROW_BYTES", "BLOB_BYTES", "CONNECTIONS", "ENDPOINT"],
    read: (admin, signal) => admin.usage({ signal }),
    cells: (user) => [
      ...[user.handle, user.status, count(user.rooms), count(user.row_bytes)],
      ...[count(user.blob_bytes), count(user.connections), user.endpoint],
    ],
  });
}
