import type { Bus, Peer } from "../../client/index.ts";
import { CliCommand } from "../cli-command.ts";
import { printJson, printNote, printTable } from "../print.ts";
import { asReader, type PeerOptions, peerCommand } from "./peer.ts";

type People = AsyncIterable<Peer> | readonly Peer[];

async function* rows(people: People): AsyncGenerator<string[]> {
  for await (const { handle, role, endpoint } of people) yield [handle, role, endpoint];
}

async function printAsJson(people: People): Promise<number> {
  let count = 0;
  for await (const { handle, role, endpoint, sign_pub } of people) {
    count += 1;
    await printJson({ handle, role, endpoint, sign_pub });
  }
  return count;
}

async function printPeers(bus: Bus, name: string | undefined, options: PeerOptions, signal: AbortSignal) {
  const people = name === undefined ? bus.directory.list({ signal }) : await bus.directory.named(name, signal);
  const count = options.json
    ? await printAsJson(people)
    : await printTable(["HANDLE", "ROLE", "ENDPOINT"], rows(people));
  signal.throwIfAborted();
  if (count === 0) printNote("no user has that name (list all users: unibus directory)");
}

/** The command `directory [NAME]`, which lists the users of a bus. */
export function directoryCommand(): CliCommand {
  return peerCommand(
    new CliCommand("directory", {
      summary: "list the users of the bus: handle, role and endpoint",
      example: "unibus directory bob",
    }),
  )
    .argument("[name]", "list only users with this handle or one that looks like it, this endpoint or this sign_pub")
    .option("--json", "print one JSON object per line")
    .action((name: string | undefined, options: PeerOptions) =>
      asReader(options, (bus, signal) => printPeers(bus, name, options, signal)),
    );
}
