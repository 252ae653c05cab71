import { CliCommand } from "../cli-command.ts";
import { printFields } from "../print.ts";
import { publicFields } from "./identity.ts";
import { asReader, type PeerOptions, peerCommand } from "./peer.ts";

async function whoami(options: PeerOptions): Promise<void> {
  await asReader(options, async (bus, signal) => {
    const [me] = await bus.directory.find([bus.identity.endpoint], signal);
    if (me === undefined) return;
    const { handle, role } = me;
    printFields({ url: bus.control.urls.join(","), handle, role, ...publicFields(bus.identity) }, options);
  });
}

/** The command `whoami`, which prints this peer's handle, role and keys on the bus. */
export function whoamiCommand(): CliCommand {
  return peerCommand(
    new CliCommand("whoami", {
      summary:
        "show who you are on the bus: handle, role, public keys, and the 8 words by which others verify your key",
      example: "unibus whoami",
    }),
  )
    .option("--json", "print JSON")
    .action(whoami);
}
