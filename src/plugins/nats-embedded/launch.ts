/**
 * Turns this process into nats-server after asking the kernel to end it with its parent.
 * It imports nothing heavy, because it runs at every start of nats-server.
 */
import { dlopen, FFIType, ptr, read } from "bun:ffi";
import { constants } from "node:os";

/** The hidden command by which the executable starts itself as nats-server. */
export const launchCommand = "__launch-nats-server";

const setParentDeathSignal = 1;
const sigterm = 15;

/** The name of an error of the system, as in EACCES. */
const nameOf = (errno: number): string =>
  Object.entries(constants.errno).find(([, number]) => number === errno)?.[0] ?? `error ${errno}`;

/** Replaces this process by `argv`, which dies with the process `parent`. Returns only by exiting on failure. */
export function launch(parent: number, argv: readonly string[]): never {
  const libc = dlopen("libc.so.6", {
    prctl: { args: [FFIType.i32, FFIType.u64, FFIType.u64, FFIType.u64, FFIType.u64], returns: FFIType.i32 },
    execv: { args: [FFIType.ptr, FFIType.ptr], returns: FFIType.i32 },
    getppid: { args: [], returns: FFIType.i32 },
    __errno_location: { args: [], returns: FFIType.ptr },
  });
  libc.symbols.prctl(setParentDeathSignal, sigterm, 0, 0, 0);
  // If the parent died before the call above, no signal will come, so exit now.
  if (libc.symbols.getppid() !== parent) process.exit(1);
  const texts = argv.map((text) => Buffer.from(`${text}\0`));
  const pointers = new BigUint64Array([...texts.map((text) => BigInt(ptr(text))), 0n]);
  libc.symbols.execv(ptr(texts[0] ?? new Uint8Array(1)), ptr(pointers));
  const errno = libc.symbols.__errno_location();
  console.error(`error: cannot execute ${argv[0]}: ${errno === null ? "unknown error" : nameOf(read.i32(errno))}`);
  process.exit(127);
}

if (import.meta.main && !import.meta.path.startsWith("/$bunfs/")) {
  const [parent, ...argv] = process.argv.slice(2);
  launch(Number(parent), argv);
}
