/**
 * The port of the HTTP listener. It is bound without SO_REUSEPORT, so binding fails if another process listens on the
 * port, whatever options that process set. To reload a certificate, the current listener is marked with SO_REUSEPORT
 * and the next one is bound beside it and gets every new connection. (From then on a process of the same user that asks
 * for SO_REUSEPORT could join; unibus never does at startup.)
 */
import { dlopen, FFIType, ptr } from "bun:ffi";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import type { Address } from "../wire/address.ts";
import { refusal } from "./manifest.ts";

/** How long the old listener waits for the requests of connections it has accepted, in milliseconds. */
const handOverMs = 500;

const solSocket = 1;
const reusePort = 15;
const attachReusePortFilter = 51;
const returnConstant = 0x06;

/** The setting and the command-line option that hold the HTTP listener's address. */
const httpNames: { readonly setting: string; readonly option: string } = {
  setting: "http.listen",
  option: "--http",
};

/** Runs a bind. Errors: invalid, naming the setting, if the address is in use or cannot be bound. */
export function binding<T>({ hostname, port }: Address, bind: () => T, { setting, option } = httpNames): T {
  try {
    return bind();
  } catch (error) {
    const isTaken = (error as { code?: string }).code === "EADDRINUSE";
    const what = isTaken ? "the address is in use" : "cannot bind the address";
    throw refusal(`${setting} ${hostname}:${port}`, what, `choose another with ${option} HOST:PORT`);
  }
}

/** Binds an address and releases it, to refuse one in use early. Errors: invalid if it cannot be bound. */
export function checkAddress(address: Address): void {
  if (address.port !== 0) binding(address, () => Bun.listen({ ...address, socket: { data() {} } }).stop(true));
}

/** The descriptors of this process's sockets that listen on a port. Throws on a system without /proc. */
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
    // The descriptor that read the folder is closed by now.
    return "";
  }
}

/** Sets a socket option. Throws if the system has a different C library or refuses. */
function setOption(fd: number, option: number, value: Uint8Array): void {
  const { i32, u32, ptr: pointer } = FFIType;
  const libc = dlopen("libc.so.6", { setsockopt: { args: [i32, i32, i32, pointer, u32], returns: i32 } });
  const result = libc.symbols.setsockopt(fd, solSocket, option, ptr(value), value.byteLength);
  libc.close();
  if (result !== 0) throw new Error(`setsockopt ${option} failed`);
}

/** Lets the next listener of this process share the port. Returns false if the system does not support it. */
export function sharePort(port: number): boolean {
  try {
    const sockets = process.platform === "linux" ? listeningOn(port) : [];
    for (const fd of sockets) setOption(fd, reusePort, new Uint8Array(Int32Array.of(1).buffer));
    return sockets.length > 0;
  } catch {
    // No /proc, or a different C library.
    return false;
  }
}

/** Makes the kernel pass every new connection to one of the sockets that share a port, by their order of binding. */
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
 * Hands a port over to the listener that was bound last: it gets every new connection, and the others get 500 ms for
 * the connections they have accepted. Without this, connections that wait to be accepted are reset when a listener
 * closes. On a system that does not support it, this only waits.
 */
export async function handOver(port: number): Promise<void> {
  try {
    const sockets = process.platform === "linux" ? listeningOn(port) : [];
    if (sockets[0] !== undefined) steer(sockets[0], sockets.length - 1);
  } catch {
    // No /proc, or a different C library: the kernel keeps spreading new connections over all listeners.
  }
  await new Promise((resolve) => setTimeout(resolve, handOverMs));
}
