import { Option } from "commander";
import { generateIdentity, type Identity } from "../../client/crypto/identity.ts";
import { identityFromWords, newWords, walletWords } from "../../client/crypto/wallet.ts";
import { fingerprintWords, userFingerprint } from "../../wire/fingerprint.ts";
import { userNkeySeed } from "../../wire/names.ts";
import { CliCommand } from "../cli-command.ts";
import { type Fields, type PrintOptions, printFields, printLine, printNote } from "../print.ts";
import { defaultIdentityFile, readIdentityFile, writeIdentityFile, writePrivateFile } from "./identity-file.ts";
import { placeOf } from "./remembered.ts";

/** Much longer than twelve words, in characters. */
const typedCharsMax = 4_096;

/** The environment variable for the identity file, used by every command that reads or creates one. */
const identityVariable = "UNIBUS_IDENTITY";

/** The default path of the identity file, as the help states it. */
const usualFile = defaultIdentityFile({ HOME: "~" });

/** The option `--identity FILE`, or its environment variable, for every command that acts as a peer. */
export function identityOption(): Option {
  return new Option("--identity <file>", `the identity file (default: that of the bus in use, or ${usualFile})`).env(
    identityVariable,
  );
}

/** The identity file: from the option or the environment, else that of the bus in use, else the default. */
function identityFileOf(named: string | undefined): string {
  return placeOf({ identity: named }).identity;
}

/** The public part of an identity. */
export function publicFields(identity: Identity): Fields {
  return {
    endpoint: identity.endpoint,
    sign_pub: identity.signPubHex,
    kex_pub: identity.kexPubHex,
    kex_sig: identity.kexSig,
    nkey: identity.nkey,
    fingerprint: fingerprintWords(userFingerprint(identity.signPubHex)),
  };
}

async function store(identity: Identity, out: string | undefined): Promise<void> {
  const file = out || defaultIdentityFile();
  await writeIdentityFile(file, identity);
  printNote(`identity written to ${file}`);
}

async function makeNew(options: { out?: string; words?: boolean } & PrintOptions): Promise<void> {
  const words = options.words ? newWords() : null;
  const identity = words === null ? await generateIdentity() : await identityFromWords(words);
  await store(identity, options.out);
  const fields = publicFields(identity);
  if (options.json) return printFields(words === null ? fields : { ...fields, words }, options);
  printFields(fields);
  if (words === null) return;
  printLine("");
  printLine(`Keep these ${walletWords} words on paper. Anyone who has them can act as you. They are shown only now:`);
  printLine(words);
}

async function show(options: { identity?: string } & PrintOptions): Promise<void> {
  printFields(publicFields(await readIdentityFile(identityFileOf(options.identity))), options);
}

/** Exports the private key in the format of stock NATS tools. */
async function exportNkey(options: { identity?: string; out: string } & PrintOptions): Promise<void> {
  const identity = await readIdentityFile(identityFileOf(options.identity));
  await writePrivateFile(options.out, `${userNkeySeed(identity.signPriv.subarray(0, 32))}\n`);
  if (options.json) return printFields({ nkey: identity.nkey, file: options.out }, options);
  printNote(`the private key, for NATS tools, written to ${options.out}`);
  printLine(identity.nkey);
}

/** Reads words that were typed or piped in, up to the end of input or of the line that completes them. */
async function typedWords(): Promise<string> {
  if (process.stdin.isTTY) printNote(`Type the ${walletWords} words, then Enter:`);
  const decoder = new TextDecoder();
  let typed = "";
  for await (const chunk of Bun.stdin.stream()) {
    typed += decoder.decode(chunk, { stream: true });
    const complete = typed.endsWith("\n") && typed.trim().split(/\s+/).length >= walletWords;
    if (complete || typed.length > typedCharsMax) break;
  }
  return typed;
}

async function restore(options: { out?: string } & PrintOptions): Promise<void> {
  const identity = await identityFromWords(await typedWords());
  await store(identity, options.out);
  printFields(publicFields(identity), options);
}

/** The commands `identity new|show|nkey|restore`. */
export function identityCommand(): CliCommand {
  const command = new CliCommand("identity", { summary: "create and show your keys", example: "unibus identity show" });
  const out = () =>
    new Option("--out <file>", `the file to write, which must not exist (default: ${usualFile})`).env(identityVariable);
  const json = () => new Option("--json", "print JSON");
  command
    .sub("new", { summary: "create an identity and print its public half", example: "unibus identity new --words" })
    .addOption(out())
    .option("--words", "derive it from twelve new words, and print them once")
    .addOption(json())
    .action(makeNew);
  command
    .sub("show", { summary: "print the public half of an identity", example: "unibus identity show" })
    .addOption(identityOption())
    .addOption(json())
    .action(show);
  command
    .sub("nkey", {
      summary: "write the signing key as a seed file for stock NATS tools, and print the nkey",
      example: "unibus identity nkey --out user.nk",
    })
    .addOption(identityOption())
    .requiredOption("--out <file>", "the file to write, which must not exist")
    .addOption(json())
    .action(exportNkey);
  command
    .sub("restore", {
      summary: "restore an identity from its twelve words, read from stdin",
      example: "unibus identity restore --out ana.json",
    })
    .addOption(out())
    .addOption(json())
    .action(restore);
  return command;
}
