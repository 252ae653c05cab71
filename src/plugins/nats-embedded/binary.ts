import { createHash } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import carried from "../../../.cache/nats-server/nats-server" with { type: "file" };
import manifest from "../../../.cache/nats-server/nats-server.json" with { type: "json" };
import { UnibusError } from "../../wire/errors.ts";
import { natsServerVersionMin, versionAtLeast } from "../../wire/nats-version.ts";

/** How long a nats-server may take to print its version, in milliseconds. */
const versionTimeoutMs = 5_000;

/** Identifies an unpacked copy without reading it again. */
const stampOf = (file: string): string => {
  const { size, mtimeMs, ctimeMs, ino } = statSync(file);
  return JSON.stringify({ sha256: manifest.sha256, size, mtimeMs, ctimeMs, ino });
};

/**
 * Returns the path of the embedded nats-server, unpacked to `folder` on first use.
 * Shape: folder and file have mode 0700; the file's sha256 is checked when it is written and after any change to it.
 */
export async function carriedServer(folder: string): Promise<string> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const file = join(folder, `nats-server-${manifest.sha256.slice(0, 16)}`);
  const stamp = `${file}.stamp`;
  if (existsSync(file) && existsSync(stamp) && readFileSync(stamp, "utf8") === stampOf(file)) return file;
  const fresh = `${file}.new`;
  await Bun.write(fresh, Bun.file(carried));
  chmodSync(fresh, 0o700);
  if (createHash("sha256").update(readFileSync(fresh)).digest("hex") !== manifest.sha256) {
    throw new UnibusError("internal", `the nats-server written to ${folder} is damaged (is the disk full?)`);
  }
  renameSync(fresh, file);
  writeFileSync(stamp, stampOf(file), { mode: 0o600 });
  return file;
}

/** The version of a nats-server, or why it has none. */
function versionOf(file: string): string {
  if (!existsSync(file)) return "not there";
  try {
    const { stdout } = Bun.spawnSync([file, "--version"], { stdin: "ignore", timeout: versionTimeoutMs });
    return /v(\d+\.\d+\.\d+)/.exec(stdout.toString())?.[1] ?? "of unknown version";
  } catch {
    return "not executable";
  }
}

/** Returns the operator's nats-server if it is new enough. Errors: invalid, with its version and the fix. */
export function chosenServer(file: string): string {
  const version = versionOf(file);
  if (versionAtLeast(version, natsServerVersionMin)) return file;
  const mend = `needs ${natsServerVersionMin} or newer: leave nats-embedded.binary out to use the one inside`;
  throw new UnibusError("invalid", `nats-server ${file} is ${version} (${mend})`);
}
