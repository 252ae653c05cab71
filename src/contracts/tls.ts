import { dlopen, FFIType, ptr } from "bun:ffi";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { UnibusError } from "../wire/errors.ts";

/** A certificate chain and its key, PEM. */
export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
}

/** What `read` gives, or null when it throws. */
function attempt<T>(read: () => T): T | null {
  try {
    return read();
  } catch {
    return null;
  }
}

/**
 * Reads certificate and key, now.
 * Errors: invalid, naming the option, for one that is missing, or no PEM, or not the other's.
 */
export function readTlsFiles(certFile: string | undefined, keyFile: string | undefined): TlsFiles {
  const refuse = (option: string, what: string) =>
    new UnibusError("invalid", `${option}: ${what} (give both --tls-cert and --tls-key)`);
  const read = <T>(option: string, file: string | undefined, parse: (text: string) => T): [string, T] => {
    if (file === undefined) throw refuse(option, "is missing");
    const text = existsSync(file) ? attempt(() => readFileSync(file, "utf8")) : null;
    if (text?.startsWith("\ufeff")) {
      const hint = "save it as UTF-8 without one";
      throw new UnibusError("invalid", `${option}: ${file} begins with a byte order mark (${hint})`);
    }
    const parsed = text === null ? null : attempt(() => parse(text));
    if (text === null || parsed === null) throw refuse(option, `${file} is no readable PEM file`);
    return [text, parsed];
  };
  const [cert, certificate] = read("--tls-cert", certFile, (text) => new X509Certificate(text));
  const [key, privateKey] = read("--tls-key", keyFile, (text) => createPrivateKey(text));
  if (!certificate.checkPrivateKey(privateKey)) throw refuse("--tls-key", `${keyFile} is not the key of ${certFile}`);
  return { cert, key };
}

/** How long a connection that the older listener took may need until its request is there, in milliseconds. */
const handOverMs = 500;

const solSocket = 1;
const attachReusePortFilter = 51;
const returnConstant = 0x06;

/** This process's sockets that listen on a port, by descriptor. */
function listeningOn(port: number): number[] {
  const local = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const rows = ["/proc/net/tcp", "/proc/net/tcp6"].flatMap((file) => readFileSync(file, "utf8").split("\n"));
  const fields = rows.map((row) => row.trim().split(/\s+/));
  const links = new Set(
    fields.filter(([, at, , state]) => at?.endsWith(local) && state === "0A").map((row) => `socket:[${row[9]}]`),
  );
  return readdirSync("/proc/self/fd")
    .map(Number)
    .filter((fd) => links.has(linkOf(fd)));
}

function linkOf(fd: number): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    // The descriptor with which the folder was read is gone by now.
    return "";
  }
}

/** Has the kernel give every new connection to one of the sockets that share a port, counted by when they came. */
function steer(fd: number, index: number): void {
  const filter = new DataView(new ArrayBuffer(8));
  filter.setUint16(0, returnConstant, true);
  filter.setUint32(4, index, true);
  const program = new DataView(new ArrayBuffer(16));
  program.setUint16(0, 1, true);
  program.setBigUint64(8, BigInt(ptr(filter)), true);
  const { i32, u32, ptr: pointer } = FFIType;
  const libc = dlopen("libc.so.6", { setsockopt: { args: [i32, i32, i32, pointer, u32], returns: i32 } });
  libc.symbols.setsockopt(fd, solSocket, attachReusePortFilter, ptr(program), program.byteLength);
  libc.close();
}

/**
 * Hands a port over to the listener that was bound last: it gets every new connection, and the others have a moment
 * for what they took before. Without this, connections that wait to be accepted are reset when a listener closes.
 * Shape: where the system cannot do that, only the moment passes.
 */
export async function handOver(port: number): Promise<void> {
  try {
    const sockets = process.platform === "linux" ? listeningOn(port) : [];
    if (sockets[0] !== undefined) steer(sockets[0], sockets.length - 1);
  } catch {
    // No /proc, or no such libc: the kernel goes on to spread new connections over all of them.
  }
  await new Promise((resolve) => setTimeout(resolve, handOverMs));
}
