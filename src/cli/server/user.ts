import { InvalidArgumentError } from "commander";
import type { UserRecord } from "../../contracts/store.ts";
import { Users } from "../../contracts/users.ts";
import { usersPageMax } from "../../wire/api.ts";
import { CliCommand } from "../cli-command.ts";
import { printDone, printFields } from "../print.ts";
import { handleArgument, keyArgument, keyNamed, whoText } from "../user-arguments.ts";
import { printUsers, type UserLine } from "../user-output.ts";
import { type HostOptions, hostCommand, onHost } from "./host.ts";

interface AddOptions extends HostOptions {
  readonly identity?: string;
  readonly signPub?: string;
  readonly kexPub?: string;
  readonly kexSig?: string;
  readonly admin?: boolean;
}

/** The public keys from the command line: from an identity file, or given one by one. */
async function keysOf(options: AddOptions): Promise<{ signPub: string; kexPub?: string; kexSig?: string }> {
  const { identity, signPub, kexPub, kexSig } = options;
  if ((identity === undefined) === (signPub === undefined)) {
    throw new InvalidArgumentError("name the key by --identity FILE or by --sign-pub HEX (one of the two)");
  }
  if (identity !== undefined) {
    const { readIdentityFile } = await import("../peer/identity-file.ts");
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

/** Yields all users, including revoked ones. */
async function* rowsOf(users: Users): AsyncGenerator<UserLine> {
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
  await onHost(options, Users, (users) => printUsers(rowsOf(users), "unibus invite new HANDLE", options));
}

/** What a change did: a note, and fields for `--json`. */
type Done = readonly [note: string, fields: object];

/** Changes the user named on the command line, and prints the result. */
async function change(
  who: string,
  options: HostOptions,
  work: (users: Users, signPub: string) => Promise<Done>,
): Promise<void> {
  const named = (users: Users) => keyNamed(rowsOf(users), who, "unibus user list");
  const done = await onHost(options, Users, async (users) => work(users, await named(users)));
  await printDone(...done, options);
}

const rename = (who: string, handle: string, options: HostOptions): Promise<void> =>
  change(who, options, async (users, signPub) => {
    await users.rename(signPub, handle);
    return [`renamed ${who} to ${handle} (${signPub})`, { renamed: signPub, handle }];
  });

const revoke = (who: string, options: HostOptions): Promise<void> =>
  change(who, options, async (users, signPub) => {
    await users.revoke(signPub, { keepAdmin: false });
    return [`revoked ${who} (${signPub})`, { revoked: signPub }];
  });

const restore = (who: string, options: HostOptions): Promise<void> =>
  change(who, options, async (users, signPub) => {
    await users.restore(signPub);
    const note = `restored ${who} (${signPub}); owners can add the user to their rooms again`;
    return [note, { restored: signPub }];
  });

const remove = (who: string, options: HostOptions): Promise<void> =>
  change(who, options, async (users, signPub) => {
    await users.remove(signPub, { keepAdmin: false });
    return [`deleted ${who} (${signPub})`, { deleted: signPub }];
  });

/** The commands `user add|list|rename|revoke|restore|delete`, on a data directory. */
export function userCommand(): CliCommand {
  const command = new CliCommand("user", {
    summary: "manage the users of a data directory, even while the server runs",
    example: "unibus user list --data /var/lib/unibus",
  });
  hostCommand(
    command.sub("add", {
      summary: "add a user by its public keys",
      example: "unibus user add ana --identity ana.json",
    }),
  )
    .argument("<handle>", "the name that others see", handleArgument)
    .option("--identity <file>", "take the keys of an identity file")
    .option("--sign-pub <hex>", "the signing key", keyArgument)
    .option("--kex-pub <hex>", "the key-exchange key", keyArgument)
    .option("--kex-sig <base64>", "the user's signature over the key-exchange key")
    .option("--admin", "add the user as an admin (default: as a member)")
    .option("--json", "print JSON")
    .action(add);
  hostCommand(command.sub("list", { summary: "list every user", example: "unibus user list --data /var/lib/unibus" }))
    .option("--json", "print JSON")
    .action(list);
  hostCommand(
    command.sub("rename", {
      summary: "give a user another handle, also in their rooms",
      example: "unibus user rename bob robert",
    }),
  )
    .argument("<who>", whoText)
    .argument("<handle>", "the name that others see", handleArgument)
    .option("--json", "print JSON")
    .action(rename);
  hostCommand(
    command.sub("revoke", {
      summary: "end a user's access; the key cannot join again, but restore undoes it",
      example: "unibus user revoke bob",
    }),
  )
    .argument("<who>", whoText)
    .option("--json", "print JSON")
    .action(revoke);
  hostCommand(
    command.sub("restore", {
      summary: "give a revoked user access again; rooms that the user left stay left",
      example: "unibus user restore bob",
    }),
  )
    .argument("<who>", whoText)
    .option("--json", "print JSON")
    .action(restore);
  hostCommand(
    command.sub("delete", {
      summary: "remove a user; the key may join again by a new invite",
      example: "unibus user delete bob",
    }),
  )
    .argument("<who>", whoText)
    .option("--json", "print JSON")
    .action(remove);
  return command;
}
