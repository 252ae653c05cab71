/**
 * Becomes nats-server in the same process, after asking the kernel to end it with its parent.
 * Imported by nothing that is heavy: it stands between unibus and its nats-server at every start.
 */
import { dlopen, FFIType, ptr } from "bun:ffi";

/** The hidden command by which the executable starts itself as nats-server. */
export const launchCommand = "__launch-nats-server";

const setParentDeathSignal = 1;
const sigterm = 15;

/** Replaces this process by `argv`, which dies with the process `parent`. Does not return unless it failed. */
export function launch(parent: number, argv: readonly string[]): never {
  const libc = dlopen("libc.so.6", {
    prctl: { args: [FFIType.i32, FFIType.u64, FFIType.u64, FFIType.u64, FFIType.u64], returns: FFIType.i32 },
    execv: { args: [FFIType.ptr, FFIType.ptr], returns: FFIType.i32 },
    getppid: { args: [], returns: FFIType.i32 },
  });
  libc.symbols.prctl(setParentDeathSignal, sigterm, 0, 0, 0);
  // The parent may have died before the line above: then nobody would ever end us.
  if (libc.symbols.getppid() !== parent) process.exit(1);
  const texts = argv.map((text) => Buffer.from(`${text}\0`));
  const pointers = new BigUint64Array([...texts.map((text) => BigInt(ptr(text))), 0n]);
  libc.symbols.execv(ptr(texts[0] ?? new Uint8Array(1)), ptr(pointers));
  console.error(`error: ${argv[0]} could not be started`);
  process.exit(127);
}

if (import.meta.main && !import.meta.path.startsWith("/$bunfs/")) {
  const [parent, ...argv] = process.argv.slice(2);
  launch(Number(parent), argv);
}
