import { InvalidArgumentError } from "commander";
import type { UserRecord } from "../../contracts/store.ts";
import { Users } from "../../contracts/users.ts";
import { usersPageMax } from "../../wire/api.ts";
import { UnibusError } from "../../wire/errors.ts";
import { lookAlike } from "../../wire/looks.ts";
import { endpointPattern, keyPattern } from "../../wire/names.ts";
import { CliCommand } from "../cli-command.ts";
import { readIdentityFile } from "../peer/identity-file.ts";
import { printFields, printJson, printNote, printTable } from "../print.ts";
import { type HostOptions, handleArgument, hostCommand, onHost } from "./host.ts";

const isKey = (text: string): boolean => new RegExp(keyPattern).test(text);
const isEndpoint = (text: string): boolean => new RegExp(endpointPattern).test(text);

function keyArgument(text: string): string {
  if (!isKey(text)) throw new InvalidArgumentError("A sign_pub has 64 hex digits.");
  return text;
}

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

/** A user as the list prints one. */
type Row = Record<"handle" | "role" | "status" | "sign_pub" | "endpoint", string>;

/** Yields all users, including revoked ones. */
async function* rowsOf(users: Users): AsyncGenerator<Row> {
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
    const cells = async function* () {
      for await (const { handle, role, status, sign_pub } of rowsOf(users)) yield [handle, role, status, sign_pub];
    };
    const count = await printTable(["HANDLE", "ROLE", "STATUS", "SIGN_PUB"], cells());
    if (count === 0) printNote("no users yet (invite one: unibus invite new HANDLE)");
  });
}

/**
 * Finds the key of the user named by a handle, a sign_pub or an endpoint. A text in the form of a key or an endpoint is
 * never taken as a handle. Errors: not_found; conflict for a handle that matches several users.
 */
async function keyNamed(users: Users, who: string): Promise<string> {
  if (isKey(who)) return who.toLowerCase();
  const isNamed = isEndpoint(who)
    ? (row: Row) => row.endpoint === who
    : (row: Row) => lookAlike(row.handle, who.normalize("NFC"));
  const found: Row[] = [];
  for await (const row of rowsOf(users)) if (isNamed(row)) found.push(row);
  const [only, ...others] = found;
  const shown = JSON.stringify(who);
  if (only === undefined)
    throw new UnibusError("not_found", `${shown} is not a user of this bus (see unibus user list)`);
  if (others.length === 0) return only.sign_pub;
  const all = found.map(({ handle, status, sign_pub }) => `${JSON.stringify(handle)}, ${status}: ${sign_pub}`);
  throw new UnibusError("conflict", `${shown} may mean ${found.length} users (name one by its key: ${all.join("; ")})`);
}

/** Changes the user named on the command line, and prints the result. */
async function change(
  who: string,
  options: HostOptions,
  work: (users: Users, signPub: string) => Promise<string>,
): Promise<void> {
  printNote(await onHost(options, Users, async (users) => work(users, await keyNamed(users, who))));
}

const rename = (who: string, handle: string, options: HostOptions): Promise<void> =>
  change(who, options, async (users, signPub) => {
    await users.rename(signPub, handle);
    return `renamed ${who} to ${handle} (${signPub})`;
  });

const revoke = (who: string, options: HostOptions): Promise<void> =>
  change(who, options, async (users, signPub) => {
    await users.revoke(signPub, { keepAdmin: false });
    return `revoked ${who} (${signPub})`;
  });

const remove = (who: string, options: HostOptions): Promise<void> =>
  change(who, options, async (users, signPub) => {
    await users.remove(signPub, { keepAdmin: false });
    return `deleted ${who} (${signPub})`;
  });

/** The commands `user add|list|rename|revoke|delete`, on a data directory. */
export function userCommand(): CliCommand {
  const whoText = "handle, sign_pub or endpoint; an endpoint that begins with - goes after --";
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
    .action(rename);
  hostCommand(
    command.sub("revoke", {
      summary: "end a user's access; the key cannot join again",
      example: "unibus user revoke bob",
    }),
  )
    .argument("<who>", whoText)
    .action(revoke);
  hostCommand(
    command.sub("delete", {
      summary: "remove a user; the key may join again by a new invite",
      example: "unibus user delete bob",
    }),
  )
    .argument("<who>", whoText)
    .action(remove);
  return command;
}
