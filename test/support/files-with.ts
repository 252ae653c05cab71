import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** Returns the files below a folder that contain some bytes. Files that vanish during the search do not count. */
export function filesWith(folder: string, bytes: string | Uint8Array): string[] {
  const found: string[] = [];
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const file = join(entry.parentPath, entry.name);
    try {
      if (readFileSync(file).includes(bytes)) found.push(file);
    } catch (error) {
      if ((error as { code?: unknown }).code !== "ENOENT") throw error;
    }
  }
  return found;
}
