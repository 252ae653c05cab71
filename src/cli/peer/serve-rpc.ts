import type { Bus, Room } from "../../client/index.ts";
import { Request } from "../../client/rooms/message.ts";
import { isUnibusError, UnibusError } from "../../wire/errors.ts";
import { frameBytesMax } from "../../wire/frame.ts";
import { CliCommand } from "../cli-command.ts";
import { countArgument } from "../numbers.ts";
import { printNote } from "../print.ts";
import { FairRequests } from "./fair-requests.ts";
import { openRoom, type RoomChoices, roomText, sendingCommand } from "./open-room.ts";
import { asPeer, nameText, type PeerOptions, peerCommand } from "./peer.ts";
import { ProcessGroups, runCommand } from "./process-group.ts";

/** How many requests are handled concurrently, by default and at most. */
const parallel = { usual: 4, most: 256 } as const;
/** How long a command may take, by default and at most, in milliseconds. */
const commandMs = { usual: 30_000, most: 3_600_000 } as const;

interface ServeOptions extends PeerOptions, RoomChoices {
  readonly parallel: number;
  readonly timeout: number;
}

/** The environment of the command, with the sender of the request. */
function environmentOf({ id, from, handle }: Request): Record<string, string | undefined> {
  return { ...process.env, UNIBUS_REQUEST_ID: id, UNIBUS_REQUEST_FROM: from, UNIBUS_REQUEST_HANDLE: handle };
}

/** The command that answers requests, and its limits. */
interface Service {
  readonly command: readonly string[];
  readonly timeoutMs: number;
  readonly groups: ProcessGroups;
}

async function answer(request: Request, { command, timeoutMs, groups }: Service): Promise<void> {
  const run = { command, env: environmentOf(request), stdin: request.data, timeoutMs, bytesMax: frameBytesMax };
  const shown = `${request.handle}: ${request.id}`;
  try {
    await request.respond(await runCommand(run, groups));
    printNote(`answered ${shown}`);
  } catch (error) {
    const why = isUnibusError(error) ? error.message : String((error as Error).message);
    printNote(`no answer to ${shown}: ${why}`);
  }
}

/** Reports requests that were dropped: the first of a sender, then whenever their number has grown tenfold. */
class Drops {
  readonly #counts = new Map<string, number>();

  take({ from, handle }: Request): void {
    const count = (this.#counts.get(from) ?? 0) + 1;
    this.#counts.set(from, count);
    if (!/^10*$/.test(String(count))) return;
    const what = `${count} ${count === 1 ? "request" : "requests"} of ${nameText({ handle, endpoint: from })} dropped`;
    printNote(`warning: ${what}: too many of them wait (answer faster, or allow more at once by --parallel)`);
  }
}

/** Answers requests until it is asked to stop, and finishes those in progress. Errors: forbidden, gone. */
async function serve(room: Room, command: readonly string[], options: ServeOptions, signal: AbortSignal) {
  const working = new Set<Promise<void>>();
  const [waiting, drops] = [new FairRequests(), new Drops()];
  const service: Service = { command, timeoutMs: options.timeout, groups: new ProcessGroups() };
  const messages = room.messages({ whenBehind: "drop", signal });
  let isOver = false;
  const startNext = (): void => {
    while (!isOver && working.size < options.parallel) {
      const request = waiting.next();
      if (request === undefined) return;
      const work: Promise<void> = answer(request, service).finally(() => {
        working.delete(work);
        startNext();
      });
      working.add(work);
    }
  };
  try {
    await messages.ready;
    printNote(`answering in ${room.subject}`);
    for await (const message of messages) {
      if (!(message instanceof Request)) continue;
      for (const dropped of waiting.add(message)) drops.take(dropped);
      startNext();
    }
  } finally {
    isOver = true;
    await Promise.all(working);
    await service.groups.end();
  }
}

async function serveRpc(name: string, command: readonly string[], options: ServeOptions): Promise<void> {
  if (Bun.which(command[0] ?? "") === null) {
    throw new UnibusError("not_found", `command not found: ${command[0]} (correct the command after --)`);
  }
  const work = async (bus: Bus, signal: AbortSignal) =>
    serve(await openRoom(bus, name, signal, options), command, options, signal);
  await asPeer(options, work, { follows: true });
}

/** The command `serve-rpc ROOM -- COMMAND...`, which answers requests with a program. */
export function serveRpcCommand(): CliCommand {
  const command = new CliCommand("serve-rpc", {
    summary: "answer a room's requests with a command: it gets the request on stdin, and its stdout is the answer",
    example: "unibus serve-rpc room.team -- bc",
  });
  return sendingCommand(peerCommand(command))
    .usage("[options] <room> -- <command...>")
    .argument("<room>", roomText)
    .argument("<command...>", "the command, after --; a failing command gives no answer")
    .option("--parallel <n>", "maximum number of requests at once", countArgument(1, parallel.most), parallel.usual)
    .option(
      "--timeout <ms>",
      "kill a command that takes longer, in milliseconds",
      countArgument(1, commandMs.most),
      commandMs.usual,
    )
    .addHelpText(
      "after",
      "\nA request is answered when the command exits. Processes that it leaves in its process group are ended when\n" +
        "serve-rpc stops.\n\n" +
        "The command finds the sender in UNIBUS_REQUEST_FROM (endpoint) and UNIBUS_REQUEST_HANDLE, and the id of the\n" +
        "request in UNIBUS_REQUEST_ID.",
    )
    .action(serveRpc);
}
