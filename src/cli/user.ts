import { Command, InvalidArgumentError } from "commander";
import type { UserRecord } from "../contracts/store.ts";
import { Users } from "../contracts/users.ts";
import { usersPageMax } from "../wire/api.ts";
import { keyPattern } from "../wire/names.ts";
import { type HostOptions, handleArgument, hostCommand, onHost } from "./host.ts";
import { readIdentityFile } from "./identity-file.ts";
import { printFields, printJson, printNote, printRow } from "./print.ts";

function keyArgument(text: string): string {
  if (!new RegExp(keyPattern).test(text)) throw new InvalidArgumentError("A sign_pub has 64 hex digits.");
  return text;
}

interface AddOptions extends HostOptions {
  readonly identity?: string;
  readonly signPub?: string;
  readonly kexPub?: string;
  readonly kexSig?: string;
  readonly admin?: boolean;
}

/** The public half that a command line names: an identity file's, or keys one by one. */
async function keysOf(options: AddOptions): Promise<{ signPub: string; kexPub?: string; kexSig?: string }> {
  const { identity, signPub, kexPub, kexSig } = options;
  if ((identity === undefined) === (signPub === undefined)) {
    throw new InvalidArgumentError("name the key by --identity FILE or by --sign-pub HEX (one of the two)");
  }
  if (identity !== undefined) {
    const read = await readIdentityFile(identity);
    return { signPub: read.signPubHex, kexPub: read.kexPubHex, kexSig: read.kexSig };
  }
  return { signPub: signPub ?? "", ...(kexPub ? { kexPub } : {}), ...(kexSig ? { kexSig } : {}) };
}

async function add(handle: string, options: AddOptions): Promise<void> {
  const keys = await keysOf(options);
  const role = options.admin ? "admin" : "member";
  const user = await onHost(options, Users, (users) => users.add({ ...keys, handle, role }), { creates: true });
  printFields({ handle, role, sign_pub: user.signPub, endpoint: user.endpoint }, options);
}

/** Every user, as a list prints one. */
async function* rowsOf(users: Users): AsyncGenerator<Record<string, string>> {
  for (let after: string | null = null; ; ) {
    const page: UserRecord[] = await users.list(after, usersPageMax);
    for (const { handle, role, status, signPub, endpoint } of page) {
      yield { handle, role, status, sign_pub: signPub, endpoint };
    }
    after = page.at(-1)?.signPub ?? null;
    if (after === null) return;
  }
}

async function list(options: HostOptions): Promise<void> {
  await onHost(options, Users, async (users) => {
    if (options.json) return printJson({ users: await Array.fromAsync(rowsOf(users)) });
    let count = 0;
    for await (const { handle, role, status, sign_pub } of rowsOf(users)) {
      count += 1;
      await printRow(handle ?? "", role ?? "", status ?? "", sign_pub ?? "");
    }
    if (count === 0) printNote("no users yet (unibus user add)");
  });
}

async function rename(signPub: string, handle: string, options: HostOptions): Promise<void> {
  await onHost(options, Users, (users) => users.rename(signPub, handle));
  printNote(`renamed ${signPub.toLowerCase()} to ${handle}`);
}

async function revoke(signPub: string, options: HostOptions): Promise<void> {
  await onHost(options, Users, (users) => users.revoke(signPub, { keepAdmin: false }));
  printNote(`revoked ${signPub.toLowerCase()}`);
}

async function remove(signPub: string, options: HostOptions): Promise<void> {
  await onHost(options, Users, (users) => users.remove(signPub, { keepAdmin: false }));
  printNote(`deleted ${signPub.toLowerCase()}`);
}

/** `user add|list|rename|revoke|delete`, on a data directory. Source: spec 14. */
export function userCommand(): Command {
  const command = new Command("user").description("the users of a data directory, also while the server runs");
  hostCommand(command.command("add"))
    .description("add a user by its public keys")
    .argument("<handle>", "the name that people see", handleArgument)
    .option("--identity <file>", "take the keys of an identity file")
    .option("--sign-pub <hex>", "the signing key", keyArgument)
    .option("--kex-pub <hex>", "the kex key", keyArgument)
    .option("--kex-sig <base64>", "the user's signature over its kex key")
    .option("--admin", "make it an admin")
    .option("--json", "print JSON")
    .action(add);
  hostCommand(command.command("list")).description("list every user").option("--json", "print JSON").action(list);
  hostCommand(command.command("rename"))
    .description("give a user another handle, also in the rooms that it is in")
    .argument("<sign_pub>", "the user's key", keyArgument)
    .argument("<handle>", "the name that people will see", handleArgument)
    .action(rename);
  hostCommand(command.command("revoke"))
    .description("take a user's access away; the key stays known")
    .argument("<sign_pub>", "the user's key", keyArgument)
    .action(revoke);
  hostCommand(command.command("delete"))
    .description("remove a user; its memberships stay, inert")
    .argument("<sign_pub>", "the user's key", keyArgument)
    .action(remove);
  return command;
}
