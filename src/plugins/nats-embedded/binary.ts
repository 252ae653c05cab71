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
    throw new UnibusError("internal", `the nats-server written to ${folder} is corrupt (check the disk's free space)`);
  }
  renameSync(fresh, file);
  writeFileSync(stamp, stampOf(file), { mode: 0o600 });
  return file;
}

/** Why a file is not a usable nats-server, or null. */
function faultOf(file: string): string | null {
  if (!existsSync(file)) return "does not exist";
  try {
    const { stdout } = Bun.spawnSync([file, "--version"], { stdin: "ignore", timeout: versionTimeoutMs });
    const version = /v(\d+\.\d+\.\d+)/.exec(stdout.toString())?.[1];
    if (version === undefined) return "does not report a version";
    return versionAtLeast(version, natsServerVersionMin) ? null : `is version ${version}`;
  } catch {
    return "is not executable";
  }
}

/** Returns the operator's nats-server if it is new enough. Errors: invalid, with its version and the fix. */
export function chosenServer(file: string): string {
  const fault = faultOf(file);
  if (fault === null) return file;
  const hint = `use ${natsServerVersionMin} or newer, or leave nats-embedded.binary out to use the built-in one`;
  throw new UnibusError("invalid", `nats-server ${file} ${fault} (${hint})`);
}
