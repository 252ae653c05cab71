import { closeSync, constants, fstatSync, openSync, readFileSync } from "node:fs";
import { isUnibusError, UnibusError } from "../wire/errors.ts";

/** More than any secret that unibus reads, in bytes. */
const secretBytesMax = 16_384;

const othersMayRead = 0o077;

/**
 * The text of a file that only its owner can read.
 * Errors: invalid, naming `setting` and the file, when it is missing, too open, or no small file.
 */
export function readSecretFile(setting: string, file: string): string {
  const refuse = (what: string, mend: string, cause?: unknown) =>
    new UnibusError("invalid", `${setting}: ${file} ${what} (${mend})`, { cause });
  try {
    // Without O_NONBLOCK the open of a named pipe would wait for a writer for ever.
    const handle = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stat = fstatSync(handle);
      if (!stat.isFile() || stat.size > secretBytesMax) throw refuse("is no secret", "name another file");
      if ((stat.mode & othersMayRead) !== 0) throw refuse("can be read by others", `chmod 600 ${file}`);
      return readFileSync(handle, "utf8").trim();
    } finally {
      closeSync(handle);
    }
  } catch (cause) {
    if (isUnibusError(cause)) throw cause;
    throw refuse("cannot be read", "name a file that unibus may read", cause);
  }
}
