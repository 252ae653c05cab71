/** Debian's libfaketime, which shifts the clock of one process. It does not need root. */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";

/** The folders in which Debian installs it, one per architecture. */
const root = "/usr/lib";

function library(): string {
  for (const folder of readdirSync(root).filter((name) => name.endsWith("-linux-gnu"))) {
    const file = join(root, folder, "faketime", "libfaketime.so.1");
    if (existsSync(file)) return file;
  }
  throw new Error("this test needs libfaketime: apt-get install libfaketime");
}

/** Returns the environment that shifts a process's clock by some seconds. Its monotonic clock is not affected. */
export function clockOff(seconds: number): Record<string, string> {
  const by = seconds < 0 ? String(seconds) : `+${seconds}`;
  return { LD_PRELOAD: library(), FAKETIME: by, FAKETIME_DONT_FAKE_MONOTONIC: "1" };
}
