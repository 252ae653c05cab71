import { Command } from "commander";
import type { Bus, Peer } from "../client/index.ts";
import { asReader, type PeerOptions, peerCommand } from "./peer.ts";
import { printJson, printNote, printRow } from "./print.ts";

async function printPeers(bus: Bus, name: string | undefined, options: PeerOptions, signal: AbortSignal) {
  let count = 0;
  const people = name === undefined ? bus.directory.list({ signal }) : await bus.directory.named(name, signal);
  for await (const { handle, role, endpoint, sign_pub } of people as AsyncIterable<Peer> | readonly Peer[]) {
    signal.throwIfAborted();
    count += 1;
    await (options.json ? printJson({ handle, role, endpoint, sign_pub }) : printRow(handle, role, endpoint));
  }
  if (count === 0) printNote("nobody here has that name");
}

/** `directory [NAME]`: the people of a bus. Source: spec 17. */
export function directoryCommand(): Command {
  return peerCommand(new Command("directory"))
    .description("list the people of the bus: handle, role and endpoint, as the bus says")
    .argument(
      "[name]",
      "only those whom a handle, an endpoint or a sign_pub may mean; handles that look alike are alike",
    )
    .option("--json", "print one JSON object a line")
    .addHelpText("after", "\nExample: unibus directory bob")
    .action((name: string | undefined, options: PeerOptions) =>
      asReader(options, (bus, signal) => printPeers(bus, name, options, signal)),
    );
}
