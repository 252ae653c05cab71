/** Debian's libfaketime, which moves the clock of one process. It needs no root. */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";

/** The folders in which Debian puts it, one for each architecture. */
const root = "/usr/lib";

function library(): string {
  for (const folder of readdirSync(root).filter((name) => name.endsWith("-linux-gnu"))) {
    const file = join(root, folder, "faketime", "libfaketime.so.1");
    if (existsSync(file)) return file;
  }
  throw new Error("this test needs libfaketime: apt-get install libfaketime");
}

/** The environment of a process whose clock is off by some seconds. Its monotonic clock runs as it does elsewhere. */
export function clockOff(seconds: number): Record<string, string> {
  const by = seconds < 0 ? String(seconds) : `+${seconds}`;
  return { LD_PRELOAD: library(), FAKETIME: by, FAKETIME_DONT_FAKE_MONOTONIC: "1" };
}
