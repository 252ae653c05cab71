/** A small disk for a data directory: a tmpfs, which only root can mount. */
import { mkdirSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Folder } from "./executable.ts";

/** A folder whose `data` is a small disk of its own. */
export class SmallDisk extends Folder {
  #isMounted = false;

  /** Mounts the disk; null if this process may not. Units: bytes. */
  static mount(bytes: number): SmallDisk | null {
    const disk = new SmallDisk();
    mkdirSync(disk.file("data"), { mode: 0o700 });
    if (process.getuid?.() === 0) {
      const options = `size=${bytes},mode=0700`;
      const done = Bun.spawnSync(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk.file("data")]);
      disk.#isMounted = done.exitCode === 0;
    }
    if (disk.#isMounted) return disk;
    disk[Symbol.dispose]();
    return null;
  }

  /** Free bytes. */
  get free(): number {
    const { bavail, bsize } = statfsSync(this.file("data"));
    return bavail * bsize;
  }

  /** Writes noise until only `free` bytes are free. */
  fillTo(free: number): void {
    let files = 0;
    for (let left = this.free - free; left > 0 && files < 100; left = this.free - free) {
      writeFileSync(join(this.file("data"), `noise-${this.free}`), new Uint8Array(left));
      files += 1;
    }
  }

  override [Symbol.dispose](): void {
    if (this.#isMounted) Bun.spawnSync(["umount", "--lazy", this.file("data")]);
    super[Symbol.dispose]();
  }
}
