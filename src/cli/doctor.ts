import { Command } from "commander";
import { Doctor } from "../contracts/doctor.ts";
import { type HostOptions, hostCommand, onHost } from "./host.ts";
import { printJson, printNote, printRow } from "./print.ts";

async function examine(options: HostOptions & { readonly mend?: boolean }): Promise<void> {
  const work = async (doctor: Doctor) => {
    const findings = await doctor.examine();
    if (options.mend) for (const finding of findings) await doctor.mend(finding);
    return findings;
  };
  const found = await onHost(options, Doctor, work, { needsServer: true });
  if (options.json) return printJson({ findings: found, mended: options.mend === true });
  for (const { kind, stream, consumer } of found) {
    printRow(kind.replaceAll("_", " "), stream, ...(consumer === undefined ? [] : [consumer]));
  }
  if (found.length === 0) printNote("streams, consumers and rows belong together");
  else printNote(options.mend ? "mended" : "nothing was changed (--mend does)");
}

/** `doctor`. Source: spec 14. */
export function doctorCommand(): Command {
  return hostCommand(new Command("doctor"))
    .description("find streams, rooms and durables that do not belong together, while the server runs")
    .option("--mend", "bring them in line: the rows are right")
    .option("--json", "print JSON")
    .action(examine);
}
