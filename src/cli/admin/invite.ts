import { inviteTtlS } from "../../wire/api.ts";
import type { CliCommand } from "../cli-command.ts";
import { asPeer, asReader, type PeerOptions, peerCommand } from "../peer/peer.ts";
import { printDone } from "../print.ts";
import { handleArgument, ttlArgument } from "../user-arguments.ts";
import { printInvites, printNewInvite } from "../user-output.ts";

interface NewOptions extends PeerOptions {
  readonly admin?: boolean;
  readonly ttl: number;
}

const makeNew = (handle: string, options: NewOptions): Promise<void> =>
  asPeer(options, async (bus, signal) => {
    const role = options.admin ? "admin" : "member";
    const { id, expires_at, link } = await bus.admin.invites.new({ handle, role, ttl_s: options.ttl }, signal);
    await printNewInvite({ id, handle, role, expires_at, link }, "unibus admin invite cancel", options);
  });

const list = (options: PeerOptions): Promise<void> =>
  asReader(options, async (bus, signal) =>
    printInvites(await bus.admin.invites.list(signal), "unibus admin invite new HANDLE", options),
  );

const cancel = (id: string, options: PeerOptions): Promise<void> =>
  asPeer(options, async (bus, signal) => {
    await bus.admin.invites.cancel(id, signal);
    await printDone(`cancelled ${id}`, { cancelled: id }, options);
  });

/** Adds the commands `admin invite new|list|cancel`. */
export function addInviteCommands(admin: CliCommand): void {
  const command = admin.sub("invite", {
    summary: "manage the links with which people join",
    example: "unibus admin invite new bob",
  });
  peerCommand(
    command.sub("new", {
      summary: "create a link with which one person can join once",
      example: "unibus admin invite new bob --ttl 86400",
    }),
  )
    .argument("<handle>", "the name that others see", handleArgument)
    .option("--admin", "invite an admin (default: a member)")
    .option("--ttl <seconds>", "how long the link works", ttlArgument, inviteTtlS.default)
    .option("--json", "print JSON")
    .action(makeNew);
  peerCommand(command.sub("list", { summary: "list pending invites", example: "unibus admin invite list" }))
    .option("--json", "print JSON")
    .action(list);
  peerCommand(
    command.sub("cancel", {
      summary: "cancel a pending invite",
      example: `unibus admin invite cancel ${"9f2c".repeat(8)}`,
    }),
  )
    .argument("<id>", "the invite's id, as list prints it")
    .option("--json", "print JSON")
    .action(cancel);
}
