/** Commands for a room that went back in time because its bus was restored from an older backup. */
import type { OlderChain, RoomRepair } from "../../client/index.ts";
import { wayBackDays } from "../../contracts/way-back.ts";
import { UnibusError } from "../../wire/errors.ts";
import { CliCommand } from "../cli-command.ts";
import { confirm } from "../confirm.ts";
import { printDone, printNote } from "../print.ts";
import { asPeer, type PeerOptions, peerCommand } from "./peer.ts";

interface RepairOptions extends PeerOptions {
  readonly yes?: boolean;
}

const busText = ({ busVersion }: RoomRepair): string => {
  if (busVersion === null) return "the server has it at a version in which you were not a member";
  return busVersion === 0 ? "the server does not know it" : `the server shows version ${busVersion}`;
};

async function repair(name: string, options: RepairOptions): Promise<void> {
  await asPeer(options, async (bus, signal) => {
    const found = await bus.recovery.repair(name, signal);
    const { subject, version, isContested } = found;
    printNote(`${subject}: you have seen version ${version}; ${busText(found)}.`);
    if (isContested) {
      printNote("The room was changed differently since the restore: an admin will have to choose between the two.");
    }
    printNote(
      "The owner who saw the highest version should repair the room: later changes are lost. " +
        "Ask the other owners to run this command, which prints the version that they saw.",
    );
    if (!options.yes) await confirm(`is ${version} the highest version that any owner has seen?`, { signal });
    const now = await found.run(signal);
    const note = `${subject} is at version ${now} on the server again; its members read and send as before`;
    await printDone(note, { subject, version: now }, options);
    printNote("members who joined after the backup are shown as left: invite them again, then add them again");
  });
}

interface TrustOptions extends RepairOptions {
  readonly acceptOlder?: boolean;
}

function explain({ subject, version, busVersion, common, readmitted }: OlderChain): void {
  const parting = common === busVersion ? "" : `, which differs from what you have seen after version ${common}`;
  printNote(`${subject}: you have seen version ${version}; the server shows version ${busVersion}${parting}.`);
  const those = (as: OlderChain["readmitted"][number]["as"]) => readmitted.filter((one) => one.as === as);
  const list = (title: string, some: OlderChain["readmitted"]) => {
    if (some.length === 0) return;
    printNote(title);
    for (const { handle, endpoint } of some) printNote(`  ${endpoint}  ${handle}`);
  };
  list("These former members become readers again:", those("reader"));
  list("These former owners become owners again:", those("owner"));
  list("These users are in no version that you have seen, and become readers:", those("new"));
  if (readmitted.length === 0) printNote("No former member becomes a reader again.");
}

async function trust(name: string, options: TrustOptions): Promise<void> {
  if (!options.acceptOlder) {
    const fix = "add it to follow the server's older chain; to compare a room's words, use unibus room verify";
    throw new UnibusError("invalid", `room trust needs --accept-older (${fix})`);
  }
  await asPeer(options, async (bus, signal) => {
    const older = await bus.recovery.older(name, signal);
    explain(older);
    if (!options.yes) await confirm("follow the server's older chain from now on?", { signal });
    await older.accept();
    const { subject, busVersion } = older;
    await printDone(`${subject} is now followed from version ${busVersion}`, { subject, version: busVersion }, options);
  });
}

const nameText = "its id, or its subject";

/** The commands `room repair|trust`. Source: docs/backup.md. */
export function recoveryCommands(): CliCommand[] {
  return [
    peerCommand(
      new CliCommand("repair", {
        summary: "give a server that was restored from an older backup the lost changes of a room that you own",
        example: "unibus room repair room.team",
      }),
    )
      .argument("<room>", nameText)
      .option("--yes", "do not ask whether another owner has seen a higher version")
      .addHelpText(
        "after",
        "\nIt sends the statements, members and sealed keys that this client has stored. The server verifies all\n" +
          `signatures. It works while the way back is open: ${wayBackDays} days after a restore.`,
      )
      .option("--json", "print JSON")
      .action(repair),
    peerCommand(
      new CliCommand("trust", {
        summary: "follow a room on a server that was restored from an older backup, if no owner can repair it",
        example: "unibus room trust room.team --accept-older",
      }),
    )
      .argument("<room>", nameText)
      .option("--accept-older", "follow the server's older chain, after a list of those who become readers again")
      .option("--yes", "do not ask for confirmation")
      .option("--json", "print JSON")
      .action(trust),
  ];
}
