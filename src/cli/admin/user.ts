import type { Admin } from "../../client/index.ts";
import type { CliCommand } from "../cli-command.ts";
import { asPeer, asReader, type PeerOptions, peerCommand } from "../peer/peer.ts";
import { printDone, printFields } from "../print.ts";
import { handleArgument, keyArgument, keyNamed, whoText } from "../user-arguments.ts";
import { printUsers } from "../user-output.ts";

interface AddOptions extends PeerOptions {
  readonly signPub: string;
  readonly kexPub?: string;
  readonly kexSig?: string;
  readonly admin?: boolean;
}

const list = (options: PeerOptions): Promise<void> =>
  asReader(options, (bus, signal) =>
    printUsers(bus.admin.users.list({ signal }), "unibus admin invite new HANDLE", options),
  );

const add = (handle: string, options: AddOptions): Promise<void> =>
  asPeer(options, async (bus, signal) => {
    const { signPub, kexPub: kex_pub, kexSig: kex_sig } = options;
    const role = options.admin ? "admin" : "member";
    const kex = { ...(kex_pub && { kex_pub }), ...(kex_sig && { kex_sig }) };
    const endpoint = await bus.admin.users.add({ handle, role, sign_pub: signPub, ...kex }, signal);
    await printFields({ handle, role, sign_pub: signPub.toLowerCase(), endpoint }, options);
  });

/** What a change did: a note, and fields for `--json`. */
type Done = readonly [note: string, fields: object];

/** Changes the user named on the command line, and prints the result. */
function change(
  who: string,
  options: PeerOptions,
  work: (users: Admin["users"], signPub: string, signal: AbortSignal) => Promise<Done>,
): Promise<void> {
  return asPeer(options, async ({ admin: { users } }, signal) => {
    const signPub = await keyNamed(users.list({ signal }), who, "unibus admin user list");
    await printDone(...(await work(users, signPub, signal)), options);
  });
}

const rename = (who: string, handle: string, options: PeerOptions): Promise<void> =>
  change(who, options, async (users, signPub, signal) => {
    await users.rename(signPub, handle, signal);
    return [`renamed ${who} to ${handle} (${signPub})`, { renamed: signPub, handle }];
  });

const revoke = (who: string, options: PeerOptions): Promise<void> =>
  change(who, options, async (users, signPub, signal) => {
    await users.revoke(signPub, signal);
    return [`revoked ${who} (${signPub})`, { revoked: signPub }];
  });

const restore = (who: string, options: PeerOptions): Promise<void> =>
  change(who, options, async (users, signPub, signal) => {
    await users.restore(signPub, signal);
    const note = `restored ${who} (${signPub}); owners can add the user to their rooms again`;
    return [note, { restored: signPub }];
  });

const remove = (who: string, options: PeerOptions): Promise<void> =>
  change(who, options, async (users, signPub, signal) => {
    await users.delete(signPub, signal);
    return [`deleted ${who} (${signPub})`, { deleted: signPub }];
  });

/** Adds the commands `admin user list|add|rename|revoke|restore|delete`. */
export function addUserCommands(admin: CliCommand): void {
  const command = admin.sub("user", {
    summary: "list, add, rename, revoke, restore and delete users",
    example: "unibus admin user revoke bob",
  });
  peerCommand(
    command.sub("list", { summary: "list every user, including revoked ones", example: "unibus admin user list" }),
  )
    .option("--json", "print JSON")
    .action(list);
  peerCommand(
    command.sub("add", {
      summary: "add a user by its public keys, which unibus identity show prints",
      example: `unibus admin user add ana --sign-pub ${"3b6a".repeat(16)}`,
    }),
  )
    .argument("<handle>", "the name that others see", handleArgument)
    .requiredOption("--sign-pub <hex>", "the signing key", keyArgument)
    .option("--kex-pub <hex>", "the key-exchange key (default: the user sets it)", keyArgument)
    .option("--kex-sig <base64>", "the user's signature over the key-exchange key")
    .option("--admin", "add the user as an admin (default: as a member)")
    .option("--json", "print JSON")
    .action(add);
  peerCommand(
    command.sub("rename", {
      summary: "give a user another handle, also in their rooms",
      example: "unibus admin user rename bob robert",
    }),
  )
    .argument("<who>", whoText)
    .argument("<handle>", "the name that others see", handleArgument)
    .option("--json", "print JSON")
    .action(rename);
  peerCommand(
    command.sub("revoke", {
      summary: "end a user's access at once; the key cannot join again, but restore undoes it",
      example: "unibus admin user revoke bob",
    }),
  )
    .argument("<who>", whoText)
    .option("--json", "print JSON")
    .action(revoke);
  peerCommand(
    command.sub("restore", {
      summary: "give a revoked user access again; rooms that the user left stay left",
      example: "unibus admin user restore bob",
    }),
  )
    .argument("<who>", whoText)
    .option("--json", "print JSON")
    .action(restore);
  peerCommand(
    command.sub("delete", {
      summary: "remove a user at once; the key may join again by a new invite",
      example: "unibus admin user delete bob",
    }),
  )
    .argument("<who>", whoText)
    .option("--json", "print JSON")
    .action(remove);
}
