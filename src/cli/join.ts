import { existsSync } from "node:fs";
import { Command } from "commander";
import type { Identity } from "../client/identity.ts";
import { parseJoinLink, register } from "../client/register.ts";
import { identityFromWords, newWords, walletWords } from "../client/wallet.ts";
import { identityFileOf, identityOption, publicFields } from "./identity.ts";
import { readIdentityFile, writeIdentityFile } from "./identity-file.ts";
import { type PrintOptions, printFields, printNote } from "./print.ts";

interface JoinOptions extends PrintOptions {
  readonly identity?: string;
}

/** The identity of a file, made from fresh words where there is none. The words are shown once, on a terminal only. */
async function identityIn(file: string): Promise<Identity> {
  if (existsSync(file)) return readIdentityFile(file);
  const words = newWords();
  const identity = await identityFromWords(words);
  await writeIdentityFile(file, identity);
  printNote(`identity written to ${file}`);
  if (process.stderr.isTTY) {
    printNote(`Keep these ${walletWords} words on paper. Who has them is you, and they are not shown again:`);
    printNote(words);
  }
  return identity;
}

async function join(given: string, options: JoinOptions): Promise<void> {
  const link = parseJoinLink(given === "-" ? await Bun.stdin.text() : given);
  const identity = await identityIn(identityFileOf(options.identity));
  const { handle, role } = await register(link, identity);
  printFields({ url: link.url, handle, role, ...publicFields(identity) }, options);
}

/** `join LINK|-`: become a user of a bus. Source: spec 14. */
export function joinCommand(): Command {
  return new Command("join")
    .description("become a user of a bus by an invite's link; makes an identity where there is none")
    .argument("<link>", "the link, or - to read it from stdin")
    .addOption(identityOption())
    .option("--json", "print JSON")
    .action(join);
}
