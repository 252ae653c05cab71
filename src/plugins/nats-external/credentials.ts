import { type Authenticator, credsAuthenticator, nkeyAuthenticator, nkeys, usernamePasswordAuthenticator } from "nats";
import type { Nats } from "../../contracts/nats.ts";
import { readSecretFile } from "../../contracts/secret-file.ts";
import { signingKey } from "../../contracts/signature.ts";
import { fromBase32 } from "../../lib/base32.ts";
import { UnibusError } from "../../wire/errors.ts";
import { accountNkey } from "../../wire/names.ts";

/** Position of the seed in a decoded nkey seed, in bytes. */
const seedPlace = { from: 2, to: 34 } as const;

/**
 * Reads unibus's login for one account from a file that only its owner can read.
 * Shape: a `.creds` file; or the seed of a user nkey (`SU...`); or a user name and a password on separate lines.
 * Errors: invalid, naming the setting.
 */
export function readCredentials(setting: string, file: string): Authenticator {
  const text = readSecretFile(setting, file);
  if (text.includes("BEGIN NATS USER JWT")) return credsAuthenticator(Buffer.from(text));
  if (/^SU[A-Z2-7]{56}$/.test(text)) return nkeyAuthenticator(Buffer.from(text));
  const [user, password, ...more] = text.split(/\r?\n/);
  if (user && password && more.length === 0) return usernamePasswordAuthenticator(user, password);
  const forms = "use a .creds file, the seed of a user nkey, or a user name and a password on separate lines";
  throw new UnibusError("invalid", `${setting}: ${file} contains no credentials (${forms})`);
}

/** Reads the key that signs auth callout responses, the seed of an account nkey (`SA...`). Errors: invalid. */
export function readIssuer(setting: string, file: string): Nats["issuer"] {
  const text = readSecretFile(setting, file);
  try {
    // Checks prefix and checksum.
    const nkey = nkeys.fromSeed(Buffer.from(text)).getPublicKey();
    const { pub, sign } = signingKey((fromBase32(text) ?? new Uint8Array()).slice(seedPlace.from, seedPlace.to));
    if (accountNkey(pub) === nkey) return { nkey, sign };
  } catch {
    // Reported below, without the content of the file.
  }
  throw new UnibusError(
    "invalid",
    `${setting}: ${file} is not the seed of an account nkey (create one with nk -gen account)`,
  );
}
