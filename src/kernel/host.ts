import { closeSync, constants, openSync, readFileSync } from "node:fs";
import { access, statfs } from "node:fs/promises";

/** How many file descriptors must be left, and the part of the limit that must be. */
const spareDescriptors = { count: 16, share: 0.05 } as const;

/** The most files that this process may have open; null where the system does not say. */
function descriptorLimit(): number | null {
  try {
    const [, limit] = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8")) ?? [];
    return limit === undefined ? null : Number(limit);
  } catch {
    return null;
  }
}

const limit = descriptorLimit();
const few = "close connections, or raise the limit: LimitNOFILE in the unit file, ulimit -n in a shell";

/** A new descriptor gets the lowest free number, so its number shows how many are in use. */
function descriptorFault(): string | null {
  try {
    const descriptor = openSync("/dev/null", "r");
    closeSync(descriptor);
    if (limit === null) return null;
    const spare = Math.max(spareDescriptors.count, limit * spareDescriptors.share);
    if (limit - descriptor > spare) return null;
    return `nearly all file descriptors are in use: ${descriptor} of ${limit} (${few})`;
  } catch (error) {
    if ((error as { code?: unknown }).code !== "EMFILE" && (error as { code?: unknown }).code !== "ENFILE") return null;
    return `no file descriptors are left${limit === null ? "" : `: ${limit} of ${limit} are in use`} (${few})`;
  }
}

const folderHints: Readonly<Record<string, string>> = {
  EROFS: "is on a read-only disk (mount it writable; no restart is needed)",
  EACCES: "cannot be written (make it writable for the user who runs unibus; no restart is needed)",
  EPERM: "cannot be written (make it writable for the user who runs unibus; no restart is needed)",
};

/** Why this computer keeps the bus from its work: no file descriptors, or a data directory that cannot be written. */
export async function hostFault(dataDir: string): Promise<string | null> {
  const descriptors = descriptorFault();
  if (descriptors !== null) return descriptors;
  try {
    await access(dataDir, constants.W_OK | constants.X_OK);
    return null;
  } catch (error) {
    const hint = folderHints[String((error as { code?: unknown }).code)];
    return hint === undefined ? null : `the data directory ${hint}`;
  }
}

/** Free bytes on the disk of the data directory, for the posture; nothing where the system does not say. */
export async function diskPosture(dataDir: string): Promise<Record<string, string>> {
  try {
    const { bavail, bsize } = await statfs(dataDir);
    return { disk_free: String(bavail * bsize) };
  } catch {
    return {};
  }
}
