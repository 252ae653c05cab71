import { Invites } from "../../contracts/invites.ts";
import { inviteTtlS } from "../../wire/api.ts";
import { joinLink } from "../../wire/names.ts";
import { CliCommand } from "../cli-command.ts";
import { printDone } from "../print.ts";
import { handleArgument, ttlArgument } from "../user-arguments.ts";
import { printInvites, printNewInvite } from "../user-output.ts";
import { type HostOptions, hostCommand, onHost } from "./host.ts";

const time = (ms: number): string => new Date(ms).toISOString();

interface NewOptions extends HostOptions {
  readonly admin?: boolean;
  readonly ttl: number;
}

async function makeNew(handle: string, options: NewOptions): Promise<void> {
  await onHost(options, Invites, async (invites, { url }) => {
    const role = options.admin ? "admin" : "member";
    const { invite, token } = await invites.create({ handle, role, ttlS: options.ttl });
    const link = joinLink(url, token);
    const made = { id: invite.id, handle, role, expires_at: time(invite.expiresAt), link };
    await printNewInvite(made, "unibus invite cancel", options);
  });
}

async function list(options: HostOptions): Promise<void> {
  const pending = await onHost(options, Invites, (invites) => invites.pending());
  const rows = pending.map(({ id, handle, role, createdAt, expiresAt }) => ({
    ...{ id, handle, role, created_at: time(createdAt), expires_at: time(expiresAt) },
  }));
  await printInvites(rows, "unibus invite new HANDLE", options);
}

async function cancel(id: string, options: HostOptions): Promise<void> {
  await onHost(options, Invites, (invites) => invites.cancel(id));
  await printDone(`cancelled ${id}`, { cancelled: id }, options);
}

/** The commands `invite new|list|cancel`, on a data directory. */
export function inviteCommand(): CliCommand {
  const command = new CliCommand("invite", {
    summary: "manage the links with which people join, even while the server runs",
    example: "unibus invite new bob",
  });
  hostCommand(
    command.sub("new", {
      summary: "create a link with which one person can join once",
      example: "unibus invite new bob --ttl 86400",
    }),
  )
    .argument("<handle>", "the name that others see", handleArgument)
    .option("--admin", "invite an admin (default: a member)")
    .option("--ttl <seconds>", "how long the link works", ttlArgument, inviteTtlS.default)
    .option("--json", "print JSON")
    .action(makeNew);
  hostCommand(command.sub("list", { summary: "list pending invites", example: "unibus invite list" }))
    .option("--json", "print JSON")
    .action(list);
  hostCommand(
    command.sub("cancel", {
      summary: "cancel a pending invite",
      example: `unibus invite cancel ${"9f2c".repeat(8)}`,
    }),
  )
    .argument("<id>", "the invite's id")
    .option("--json", "print JSON")
    .action(cancel);
  return command;
}
