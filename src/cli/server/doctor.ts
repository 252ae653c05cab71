import { Command } from "commander";
import { Doctor } from "../../contracts/doctor.ts";
import { printJson, printNote, printTable } from "../print.ts";
import { type HostOptions, hostCommand, onHost } from "./host.ts";

async function examine(options: HostOptions & { readonly mend?: boolean }): Promise<void> {
  const work = async (doctor: Doctor) => {
    const findings = await doctor.examine();
    if (options.mend) for (const finding of findings) await doctor.mend(finding);
    return findings;
  };
  const found = await onHost(options, Doctor, work, { needsServer: true });
  if (options.json) return printJson({ findings: found, mended: options.mend === true });
  const rows = found.map(({ kind, stream, consumer }) => [
    ...[kind.replaceAll("_", " "), stream],
    ...(consumer === undefined ? [] : [consumer]),
  ]);
  await printTable(["FINDING", "STREAM", "CONSUMER"], rows);
  if (found.length === 0) printNote("nothing is wrong: all streams, durables and rooms belong together");
  else printNote(options.mend ? "fixed" : "nothing was changed (to fix it: unibus doctor --mend)");
}

/** The command `doctor`. */
export function doctorCommand(): Command {
  return hostCommand(new Command("doctor"))
    .description("find streams and durables without a room, and rooms without a stream, while the server runs")
    .option("--mend", "fix what is found: the rooms in the store are right")
    .option("--json", "print JSON")
    .action(examine);
}
