/**
 * Finds or builds the nats-server to embed, and prints its path.
 * The result is `.cache/nats-server/nats-server` with its sha256 next to it, verified on every use. Sources are tried
 * in order, and each failure is reported with its reason: UNIBUS_NATS_SERVER, the cache, PATH, `go install`, the
 * official release archive, Debian's package.
 */
import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { natsServerVersionMin, versionAtLeast } from "../src/wire/nats-version.ts";

/** The version to build or download if none is found. `licenses/nats-server.json` contains its licences. */
export const natsServerPinned = "2.15.1";
const root = join(import.meta.dir, "..");
const cache = join(root, ".cache", "nats-server");
const cached = join(cache, "nats-server");
const sumFile = `${cached}.json`;
const goOs = process.platform === "win32" ? "windows" : process.platform;
const goArch = process.arch === "x64" ? "amd64" : process.arch;

class Miss extends Error {}

function sha256(file: string): string {
  return createHash("sha256").update(readFileSync(file)).digest("hex");
}

function run(command: string[], options: { cwd?: string; env?: Record<string, string> } = {}): string {
  if (Bun.which(command[0] ?? "") === null && !command[0]?.includes("/"))
    throw new Miss(`${command[0]} is not on PATH`);
  const done = Bun.spawnSync(command, {
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: { ...process.env, ...options.env },
    stdin: "ignore",
  });
  if (!done.success) {
    const lines = done.stderr.toString().trim().split("\n");
    throw new Miss(`${command.slice(0, 2).join(" ")} failed: ${lines.at(-1) ?? `exit ${done.exitCode}`}`);
  }
  return done.stdout.toString();
}

/** The version that a nats-server prints. Throws a Miss if it does not run or is too old. */
function checkVersion(file: string): string {
  const version = /v(\d+\.\d+\.\d+)/.exec(run([file, "--version"]))?.[1];
  if (version === undefined) throw new Miss(`${file} prints no version`);
  if (!versionAtLeast(version, natsServerVersionMin)) {
    throw new Miss(`${file} is ${version}, older than ${natsServerVersionMin}`);
  }
  return version;
}

/** Puts a checked executable into the cache atomically, so that a concurrent build never sees a partial file. */
function keep(file: string, from: string): string {
  const version = checkVersion(file);
  mkdirSync(cache, { recursive: true });
  const fresh = join(cache, `.new-${process.pid}`);
  copyFileSync(file, fresh);
  chmodSync(fresh, 0o755);
  const sum = sha256(fresh);
  renameSync(fresh, cached);
  writeFileSync(sumFile, JSON.stringify({ sha256: sum, version, from, platform: `${goOs}-${goArch}` }));
  return cached;
}

function fromEnvironment(): string {
  const file = process.env.UNIBUS_NATS_SERVER;
  if (!file) throw new Miss("not set");
  if (!existsSync(file)) throw new Miss(`${file} does not exist`);
  if (existsSync(sumFile) && existsSync(cached) && sha256(file) === sha256(cached)) return cached;
  return keep(file, "UNIBUS_NATS_SERVER");
}

function fromCache(): string {
  if (!existsSync(cached) || !existsSync(sumFile)) throw new Miss("empty");
  const kept = JSON.parse(readFileSync(sumFile, "utf8")) as { sha256: string; platform: string };
  if (kept.platform !== `${goOs}-${goArch}`) throw new Miss(`contains one for ${kept.platform}`);
  if (sha256(cached) !== kept.sha256) throw new Miss("does not match its sha256");
  checkVersion(cached);
  return cached;
}

function fromPath(): string {
  const file = Bun.which("nats-server");
  if (file === null) throw new Miss("has no nats-server");
  return keep(file, "PATH");
}

function fromGo(): string {
  const out = mkdtempSync(join(tmpdir(), "unibus-nats-"));
  try {
    run(["go", "install", "-trimpath", "-ldflags", "-s -w", `github.com/nats-io/nats-server/v2@v${natsServerPinned}`], {
      env: { GOBIN: out, CGO_ENABLED: "0", GOFLAGS: "" },
    });
    return keep(join(out, "nats-server"), "go install");
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
}

async function fetched(url: string): Promise<Uint8Array> {
  const reply = await fetch(url, { signal: AbortSignal.timeout(60_000) }).catch((error: Error) => {
    throw new Miss(`${new URL(url).host} does not answer (${error.message})`);
  });
  if (!reply.ok) throw new Miss(`${new URL(url).host} answered ${reply.status}`);
  return reply.bytes();
}

async function fromRelease(): Promise<string> {
  const base = `https://github.com/nats-io/nats-server/releases/download/v${natsServerPinned}`;
  const name = `nats-server-v${natsServerPinned}-${goOs}-${goArch}`;
  const sums = new TextDecoder().decode(await fetched(`${base}/SHA256SUMS`));
  const wanted = sums
    .split("\n")
    .find((line) => line.endsWith(` ${name}.tar.gz`))
    ?.split(" ")[0];
  if (wanted === undefined) throw new Miss(`SHA256SUMS has no ${name}.tar.gz`);
  const archive = await fetched(`${base}/${name}.tar.gz`);
  if (createHash("sha256").update(archive).digest("hex") !== wanted) throw new Miss("the archive's sha256 is wrong");
  const out = mkdtempSync(join(tmpdir(), "unibus-nats-"));
  try {
    writeFileSync(join(out, "archive.tar.gz"), archive);
    run(["tar", "-xzf", "archive.tar.gz"], { cwd: out });
    return keep(join(out, name, "nats-server"), "release archive");
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
}

function fromDebian(): string {
  const out = mkdtempSync(join(tmpdir(), "unibus-nats-"));
  try {
    run(["apt-get", "download", "nats-server"], { cwd: out });
    const deb = readdirSync(out).find((file) => file.endsWith(".deb"));
    if (deb === undefined) throw new Miss("apt-get downloaded no package");
    run(["dpkg-deb", "-x", deb, "unpacked"], { cwd: out });
    const file = ["usr/sbin", "usr/bin"]
      .map((folder) => join(out, "unpacked", folder, "nats-server"))
      .find((path) => existsSync(path));
    if (file === undefined) throw new Miss("the package contains no nats-server");
    return keep(file, "Debian package");
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
}

const sources: [string, () => string | Promise<string>][] = [
  ["UNIBUS_NATS_SERVER", fromEnvironment],
  ["the cache", fromCache],
  ["PATH", fromPath],
  ["go install", fromGo],
  ["the release archive", fromRelease],
  ["Debian's package", fromDebian],
];

/**
 * Returns the path of a verified nats-server for this machine.
 * Errors: one that lists every source that was tried, and why it failed.
 */
export async function natsServer(): Promise<string> {
  const misses: string[] = [];
  for (const [name, find] of sources) {
    try {
      return await find();
    } catch (error) {
      if (!(error instanceof Miss)) throw error;
      misses.push(`  ${name}: ${error.message}`);
      if (name !== "UNIBUS_NATS_SERVER" || process.env.UNIBUS_NATS_SERVER) {
        console.error(`nats-server: ${name}: ${error.message}`);
      }
    }
  }
  throw new Error(
    `no nats-server ${natsServerVersionMin} or newer was found (install Go, or put a nats-server on PATH, or name one in UNIBUS_NATS_SERVER):\n${misses.join("\n")}`,
  );
}

if (import.meta.main) {
  try {
    console.log(await natsServer());
  } catch (error) {
    console.error(`error: ${(error as Error).message}`);
    process.exit(1);
  }
}
