import { computeVectors } from "../client/vectors.ts";
import { CliCommand } from "./cli-command.ts";
import { printText } from "./print.ts";

/** The command `vectors`, which prints deterministic test vectors as JSON. Source: docs/protocol/README.md. */
export function vectorsCommand(): CliCommand {
  return new CliCommand("vectors", {
    summary: "print test vectors for other implementations, as JSON",
    example: "unibus vectors > vectors.json",
  }).action(async () => printText(`${JSON.stringify(await computeVectors(), null, 2)}\n`));
}
