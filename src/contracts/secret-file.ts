import { closeSync, constants, fstatSync, openSync, readFileSync } from "node:fs";
import { isUnibusError, UnibusError } from "../wire/errors.ts";

/** The largest secret file that unibus reads, in bytes. */
const secretBytesMax = 16_384;

const othersMayRead = 0o077;

/**
 * Reads a file that only its owner may read, and trims the text.
 * Errors: invalid, naming `setting` and the file, if it is missing, readable by others, not a regular file, or too
 * large.
 */
export function readSecretFile(setting: string, file: string): string {
  const refuse = (what: string, hint: string, cause?: unknown) =>
    new UnibusError("invalid", `${setting}: ${file} ${what} (${hint})`, { cause });
  try {
    // O_NONBLOCK, because opening a named pipe would otherwise block until it has a writer.
    const handle = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stat = fstatSync(handle);
      if (!stat.isFile() || stat.size > secretBytesMax)
        throw refuse("is not a regular file of at most 16 KiB", "name another file");
      if ((stat.mode & othersMayRead) !== 0) throw refuse("is readable by other users", `chmod 600 ${file}`);
      return readFileSync(handle, "utf8").trim();
    } finally {
      closeSync(handle);
    }
  } catch (cause) {
    if (isUnibusError(cause)) throw cause;
    throw refuse("cannot be read", "choose a file that unibus can read", cause);
  }
}
