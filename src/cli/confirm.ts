import { createInterface } from "node:readline/promises";
import { UnibusError } from "../wire/errors.ts";

/**
 * Asks a yes/no question on the terminal; only `y` or `yes` confirms. `option` is the flag that scripts use instead.
 * Errors: invalid if stdin is not a terminal; conflict for any other answer; the signal's reason.
 */
export async function confirm(
  question: string,
  { option = "--yes", signal }: { readonly option?: string; readonly signal?: AbortSignal } = {},
): Promise<void> {
  if (process.stdin.isTTY !== true) {
    throw new UnibusError("invalid", `${question} needs an answer, and stdin is not a terminal (add ${option})`);
  }
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  // A terminal in line-editing mode turns Ctrl-C into a key.
  lines.on("SIGINT", () => process.kill(process.pid, "SIGINT"));
  try {
    const answer = await lines.question(`${question} [y/N] `, signal === undefined ? {} : { signal });
    if (!/^y(es)?$/i.test(answer.trim())) throw new UnibusError("conflict", "stopped; nothing was changed");
  } catch (error) {
    throw signal?.aborted ? signal.reason : error;
  } finally {
    lines.close();
  }
}
