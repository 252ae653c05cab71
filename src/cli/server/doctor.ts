import { Doctor } from "../../contracts/doctor.ts";
import { CliCommand } from "../cli-command.ts";
import { printJson, printNote, printTable } from "../print.ts";
import { type HostOptions, hostCommand, onHost } from "./host.ts";

async function examine(options: HostOptions & { readonly fix?: boolean }): Promise<void> {
  const work = async (doctor: Doctor) => {
    const findings = await doctor.examine();
    if (options.fix) for (const finding of findings) await doctor.fix(finding);
    return findings;
  };
  const found = await onHost(options, Doctor, work, { needsServer: true });
  if (options.json) return printJson({ findings: found, fixed: options.fix === true });
  const rows = found.map(({ kind, stream, consumer }) => [
    ...[kind.replaceAll("_", " "), stream],
    ...(consumer === undefined ? [] : [consumer]),
  ]);
  await printTable(["FINDING", "STREAM", "CONSUMER"], rows);
  if (found.length === 0) printNote("no problems found: streams and durables match the rooms");
  else printNote(options.fix ? "fixed" : "nothing was changed (to fix this: unibus doctor --fix)");
}

/** The command `doctor`. */
export function doctorCommand(): CliCommand {
  return hostCommand(
    new CliCommand("doctor", {
      summary: "find streams and durables without a room, and rooms without a stream, while the server runs",
      example: "unibus doctor --fix",
    }),
  )
    .option(
      "--fix",
      "fix the problems: make streams and durables match the rooms in the store (default: only list them)",
    )
    .option("--json", "print JSON")
    .action(examine);
}
