import { existsSync } from "node:fs";
import type { Identity } from "../../client/crypto/identity.ts";
import { identityFromWords, newWords, walletWords } from "../../client/crypto/wallet.ts";
import { parseJoinLink } from "../../client/join-link.ts";
import { register } from "../../client/register.ts";
import { hasCode } from "../../wire/errors.ts";
import { CliCommand } from "../cli-command.ts";
import { type PrintOptions, printFields, printNote } from "../print.ts";
import { identityOption, publicFields } from "./identity.ts";
import { defaultIdentityFile, readIdentityFile, writeIdentityFile } from "./identity-file.ts";
import { busClockOption, dialOption } from "./peer.ts";
import { type KnownBus, knownBus, remember, remembered } from "./remembered.ts";

interface JoinOptions extends PrintOptions {
  readonly identity?: string;
  readonly dial?: string;
  readonly busClock?: boolean;
}

/** Reads an identity file, or creates one from new words, which are shown once and only on a terminal. */
async function identityIn(file: string): Promise<Identity> {
  if (existsSync(file)) return readIdentityFile(file);
  const words = newWords();
  const identity = await identityFromWords(words);
  await writeIdentityFile(file, identity);
  printNote(`identity written to ${file}`);
  if (process.stderr.isTTY) {
    printNote(`Keep these ${walletWords} words on paper. Anyone who has them can act as you. They are shown only now:`);
    printNote(words);
  }
  return identity;
}

async function join(given: readonly string[], options: JoinOptions): Promise<void> {
  const link = parseJoinLink(given.length === 1 && given[0] === "-" ? await Bun.stdin.text() : given.join(" "));
  // A damaged file must be found before the invite is used up.
  remembered();
  const file = options.identity || defaultIdentityFile();
  const identity = await identityIn(file);
  const here = knownBus(link.url, file);
  try {
    const onWarning = (warning: string) => printNote(`warning: ${warning}`);
    const { handle, role } = await register(link, identity, {
      dial: options.dial,
      busClock: options.busClock,
      onWarning,
    });
    printFields({ url: link.url, handle, role, ...publicFields(identity) }, options);
  } catch (error) {
    // The reply to an earlier attempt may have been lost, so this user may already be registered.
    if (hasCode(error, "conflict") && remembered().inUse === null) keep(here);
    throw error;
  }
  keep(here);
}

/** Remembers the bus, as the one in use only if there is none yet. A file that cannot be written is only reported. */
function keep(here: KnownBus): void {
  try {
    const before = remembered().inUse;
    remember(here, { uses: false });
    if (before === null)
      printNote(`commands now use ${here.bus} and the identity ${here.identity} (to change it: unibus use URL)`);
    if (before === null || before.bus === here.bus) return;
    const identity = here.identity === defaultIdentityFile() ? "" : ` --identity ${here.identity}`;
    printNote(`commands still use ${before.bus}; to use the new bus: unibus use ${here.bus}${identity}`);
  } catch (error) {
    printNote(`note: could not remember the bus: ${(error as Error).message}`);
  }
}

/** The command `join LINK|-`, which registers with an invite. */
export function joinCommand(): CliCommand {
  return new CliCommand("join", {
    summary: "become a user of a bus with an invite link; creates an identity if there is none",
    example: `unibus join https://bus.example.org/join#${"7d0e6c1a".repeat(8)}`,
  })
    .argument("<link...>", "the link, with or without the words around it; -: read it from stdin")
    .addOption(dialOption())
    .addOption(identityOption())
    .addOption(busClockOption())
    .option("--json", "print JSON")
    .action(join);
}
