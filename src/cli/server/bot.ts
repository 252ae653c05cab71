import { existsSync } from "node:fs";
import { generateIdentity } from "../../client/crypto/identity.ts";
import { Users } from "../../contracts/users.ts";
import { UnibusError } from "../../wire/errors.ts";
import { CliCommand } from "../cli-command.ts";
import { publicFields } from "../peer/identity.ts";
import { writeIdentityFile } from "../peer/identity-file.ts";
import { printFields } from "../print.ts";
import { handleArgument } from "../user-arguments.ts";
import { type HostOptions, hostCommand, onHost } from "./host.ts";

async function add(handle: string, options: HostOptions & { readonly out: string }): Promise<void> {
  if (existsSync(options.out)) {
    throw new UnibusError("conflict", `${options.out} already exists (name another file with --out)`);
  }
  const identity = await generateIdentity();
  await onHost(options, Users, async (users) => {
    const { signPubHex: signPub, kexPubHex: kexPub, kexSig } = identity;
    await users.add({ signPub, kexPub, kexSig, handle, role: "member" });
    try {
      await writeIdentityFile(options.out, identity);
    } catch (error) {
      // This user's private keys are in that file only.
      await users.remove(signPub, { keepAdmin: false });
      throw error;
    }
  });
  printFields({ handle, ...publicFields(identity) }, options);
}

/** The command `bot add`, on a data directory. */
export function botCommand(): CliCommand {
  const example = "unibus bot add weather --out weather.json";
  const command = new CliCommand("bot", { summary: "add bots, which are users that are programs", example });
  hostCommand(command.sub("add", { summary: "create an identity, register it, and write it to a file", example }))
    .argument("<handle>", "the name that others see", handleArgument)
    .requiredOption("--out <file>", "the file to write, which must not exist")
    .option("--json", "print JSON")
    .action(add);
  return command;
}
