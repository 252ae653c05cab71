/**
 * The port of the HTTP listener. A listener is bound without SO_REUSEPORT, so that a port which another process listens
 * on, whatever that one set, is refused. When a renewed certificate takes the port over, the listener that is there is
 * marked with SO_REUSEPORT, the next one is bound beside it and gets every new connection. (From then on a process of
 * the same user that asks for SO_REUSEPORT itself could join; unibus never does when it starts.)
 */
import { dlopen, FFIType, ptr } from "bun:ffi";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import type { Address } from "../wire/address.ts";
import { refusal } from "./manifest.ts";

/** How long a connection that the older listener took may need until its request is there, in milliseconds. */
const handOverMs = 500;

const solSocket = 1;
const reusePort = 15;
const attachReusePortFilter = 51;
const returnConstant = 0x06;

/** The setting and the option that name the HTTP listener's address. */
const httpNames: { readonly setting: string; readonly option: string } = {
  setting: "http.listen",
  option: "--http",
};

/** Runs what binds an address. Errors: invalid, naming the setting, when the address is in use or cannot be bound. */
export function binding<T>({ hostname, port }: Address, bind: () => T, { setting, option } = httpNames): T {
  try {
    return bind();
  } catch (error) {
    const isTaken = (error as { code?: string }).code === "EADDRINUSE";
    const what = isTaken ? "the address is in use" : "the address cannot be bound";
    throw refusal(`${setting} ${hostname}:${port}`, what, `choose another with ${option} HOST:PORT`);
  }
}

/**
 * Binds an address and lets it go again: one that is in use is refused before anything else has started.
 * Errors: invalid when the address is in use or cannot be bound.
 */
export function checkAddress(address: Address): void {
  if (address.port !== 0) binding(address, () => Bun.listen({ ...address, socket: { data() {} } }).stop(true));
}

/** This process's sockets that listen on a port, by descriptor. Errors: any, where there is no /proc. */
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

/** Sets an option of a socket. Errors: any, where the system's C library is another or refuses. */
function setOption(fd: number, option: number, value: Uint8Array): void {
  const { i32, u32, ptr: pointer } = FFIType;
  const libc = dlopen("libc.so.6", { setsockopt: { args: [i32, i32, i32, pointer, u32], returns: i32 } });
  const result = libc.symbols.setsockopt(fd, solSocket, option, ptr(value), value.byteLength);
  libc.close();
  if (result !== 0) throw new Error(`setsockopt ${option} failed`);
}

/** Lets the next listener of this process share the port. False where the system cannot do that. */
export function sharePort(port: number): boolean {
  try {
    const sockets = process.platform === "linux" ? listeningOn(port) : [];
    for (const fd of sockets) setOption(fd, reusePort, new Uint8Array(Int32Array.of(1).buffer));
    return sockets.length > 0;
  } catch {
    // No /proc, or another C library.
    return false;
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
  setOption(fd, attachReusePortFilter, new Uint8Array(program.buffer));
}

/**
 * Hands a port over to the listener that was bound last: it gets every new connection, and the others have a moment
 * for what they took before. Without this, connections that wait to be accepted are reset when a listener closes.
 * Where the system cannot do that, only the moment passes.
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
