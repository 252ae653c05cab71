import { randomUUID } from "node:crypto";
import { constants } from "node:fs";
import { link, mkdir, open, unlink } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { type Identity, identityText, parseIdentity } from "../../client/crypto/identity.ts";
import { isUnibusError, UnibusError } from "../../wire/errors.ts";

/** Larger than any identity file, in bytes. */
const fileBytesMax = 4_096;

/** The default path of this user's identity file. */
export function defaultIdentityFile(env: Readonly<Record<string, string | undefined>> = process.env): string {
  const config = env.XDG_CONFIG_HOME;
  const base = config && isAbsolute(config) ? config : join(env.HOME || homedir(), ".config");
  return join(base, "unibus", "identity.json");
}

const codeOf = (error: unknown): string =>
  typeof error === "object" && error !== null && "code" in error ? String(error.code) : "";

const refuse = (what: string, hint: string, cause?: unknown): UnibusError =>
  new UnibusError("invalid", `${what} (${hint})`, { cause });

async function readSmall(file: string): Promise<string> {
  try {
    // Without O_NONBLOCK, opening a named pipe would wait forever for a writer.
    await using handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
    const stat = await handle.stat();
    if (!stat.isFile()) throw refuse(`${file} is not a file`, "name an identity file with --identity");
    if (stat.size > fileBytesMax) throw refuse(`${file} is too large for an identity`, "name another with --identity");
    return await handle.readFile("utf8");
  } catch (cause) {
    if (isUnibusError(cause)) throw cause;
    const code = codeOf(cause);
    if (code === "ENOENT" || code === "ENOTDIR") {
      const hint = "join a bus: unibus join LINK; make one: unibus identity new; or name one: --identity FILE";
      throw new UnibusError("not_found", `no identity at ${file} (${hint})`, { cause });
    }
    throw refuse(`${file} cannot be read: ${code}`, "name an identity file that you may read with --identity", cause);
  }
}

/**
 * Reads an identity from a file. A malformed file is never changed or replaced.
 * Errors: not_found; invalid if the file is malformed. The error names the file and contains no key.
 */
export async function readIdentityFile(file: string): Promise<Identity> {
  const text = await readSmall(file);
  return parseIdentity(text).catch((cause: unknown) => {
    throw isUnibusError(cause) ? new UnibusError(cause.code, `${file}: ${cause.message}`, { cause }) : cause;
  });
}

/** Writes an identity to a new file. Errors: those of `writePrivateFile`. */
export async function writeIdentityFile(file: string, identity: Identity): Promise<void> {
  await writePrivateFile(file, identityText(identity));
}

/**
 * Writes a new file that only its owner can read, completely or not at all. Missing folders are created, for the owner
 * alone.
 * Errors: conflict if the file exists, regardless of its content; invalid if it cannot be written.
 */
export async function writePrivateFile(file: string, text: string): Promise<void> {
  const folder = dirname(resolve(file));
  const draft = join(folder, `.identity-${randomUUID()}`);
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await writeDraft(draft, text);
    // A link never replaces a file, and the name appears only with the complete content.
    await link(draft, file);
  } catch (cause) {
    const code = codeOf(cause);
    if (code === "EEXIST") {
      const hint = "it is never overwritten: name another with --out, or move it away";
      throw new UnibusError("conflict", `${file} exists (${hint})`, { cause });
    }
    throw refuse(`${file} cannot be written: ${code}`, "name another place with --out", cause);
  } finally {
    await unlink(draft).catch(() => undefined);
  }
}

async function writeDraft(draft: string, text: string): Promise<void> {
  await using handle = await open(draft, "wx", 0o600);
  await handle.writeFile(text);
  await handle.sync();
}
