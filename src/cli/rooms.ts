import { Command } from "commander";
import type { Bus, Policy, RoomEntry } from "../client/index.ts";
import { asReader, type PeerOptions, peerCommand } from "./peer.ts";
import { printJson, printNote, printRow } from "./print.ts";

/** What a policy has on, in words; one that has nothing on is plain. */
export function policyText({ encrypt, persist, sign_msgs }: Policy): string {
  const on = [encrypt && "encrypted", persist && "persisted", sign_msgs && "signed"].filter(Boolean);
  return on.join(",") || "plain";
}

function rowOf({ id, subject, role, policy, epoch, rekeyPending }: RoomEntry) {
  return { room_id: id, subject, role, epoch, policy, rekey_pending: rekeyPending };
}

async function printRooms(bus: Bus, options: PeerOptions, signal: AbortSignal): Promise<void> {
  const rows = (await bus.rooms(signal)).map(rowOf);
  if (options.json) return printJson({ rooms: rows });
  if (rows.length === 0) printNote("you are in no room yet (unibus room new SUBJECT, or ask an owner to add you)");
  for (const { room_id, subject, role, policy, epoch, rekey_pending } of rows) {
    const pending = rekey_pending ? ["rekey pending"] : [];
    await printRow(room_id, subject, role, `epoch ${epoch}`, policyText(policy), ...pending);
  }
}

/** `rooms`: the rooms of this peer. */
export function roomsCommand(): Command {
  return peerCommand(new Command("rooms"))
    .description("list your rooms")
    .option("--json", "print JSON")
    .action((options: PeerOptions) => asReader(options, (bus, signal) => printRooms(bus, options, signal)));
}
