import { Command } from "commander";
import { computeVectors } from "../client/vectors.ts";
import { printText } from "./print.ts";

/** The command `vectors`, which prints deterministic test vectors as JSON. Source: docs/protocol/README.md. */
export function vectorsCommand(): Command {
  return new Command("vectors")
    .description("print test vectors for other implementations, as JSON")
    .action(async () => printText(`${JSON.stringify(await computeVectors(), null, 2)}\n`));
}
