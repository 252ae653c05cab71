/** A clock of one process that the test controls: a preloaded library replaces the C library's time functions. */
import { closeSync, openSync, writeFileSync, writeSync } from "node:fs";
import type { Folder } from "../../support/executable.ts";

/** Replaces the C library's time of day with one shifted by the offset in a file. */
const source = `
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
static volatile long long *shift;
static int (*real)(clockid_t, struct timespec *);
static void find(void) { real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime"); }
__attribute__((constructor)) static void begin(void) {
  const char *file = getenv("CLOCK_SHIFT_FILE");
  int fd = file ? open(file, O_RDONLY) : -1;
  find();
  if (fd < 0) return;
  void *at = mmap(0, sizeof *shift, PROT_READ, MAP_SHARED, fd, 0);
  if (at != MAP_FAILED) shift = at;
}
int clock_gettime(clockid_t id, struct timespec *to) {
  if (!real) find();
  int result = real(id, to);
  if (result == 0 && shift && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) to->tv_sec += *shift;
  return result;
}
int gettimeofday(struct timeval *to, void *zone) {
  struct timespec now;
  (void)zone;
  int result = clock_gettime(CLOCK_REALTIME, &now);
  to->tv_sec = now.tv_sec;
  to->tv_usec = now.tv_nsec / 1000;
  return result;
}
time_t time(time_t *to) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (to) *to = now.tv_sec;
  return now.tv_sec;
}
`;

const bytesOf = (seconds: number): Uint8Array => new Uint8Array(new BigInt64Array([BigInt(seconds)]).buffer);

/** A shifted clock for one process. nats-server makes system calls directly: its clock is not shifted. */
export class Clock {
  readonly #file: string;
  /** The environment variables for the process. */
  readonly env: Record<string, string>;

  private constructor(library: string, file: string) {
    this.#file = file;
    this.env = { LD_PRELOAD: library, CLOCK_SHIFT_FILE: file };
  }

  /** Compiles the library; null if this machine has no C compiler. */
  static async make(folder: Folder): Promise<Clock | null> {
    const compiler = Bun.which("cc");
    if (compiler === null || process.platform !== "linux") return null;
    const [code, library, file] = [folder.file("clock.c"), folder.file("clock.so"), folder.file("clock")];
    writeFileSync(code, source);
    writeFileSync(file, bytesOf(0));
    const made = Bun.spawnSync([compiler, "-shared", "-fPIC", "-O2", "-o", library, code, "-ldl"]);
    if (!made.success) throw new Error(`cc: ${made.stderr.toString()}`);
    return new Clock(library, file);
  }

  /** Shifts the clock against the true time, in seconds, forward or back; 0 corrects it. */
  shift(seconds: number): void {
    const file = openSync(this.#file, "r+");
    writeSync(file, bytesOf(seconds), 0, 8, 0);
    closeSync(file);
  }
}
