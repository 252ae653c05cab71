import { randomBytes } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { type Static, Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import type { InternalAccount, Nats } from "../../contracts/nats.ts";
import { signingKey } from "../../contracts/signature.ts";
import { replaceFile } from "../../lib/atomic-file.ts";
import { fromBase64, toBase64 } from "../../wire/encoding.ts";
import { UnibusError } from "../../wire/errors.ts";
import { accountNkey } from "../../wire/names.ts";

const Secret = Type.String({ pattern: "^[A-Za-z0-9+/]{43}=$" });
const Internal = Type.Object(
  {
    issuer_seed: Secret,
    passwords: Type.Object({ BUS: Secret, CTL: Secret, AUTH: Secret, SYS: Secret }, { additionalProperties: false }),
  },
  { additionalProperties: false },
);

/** Unibus's internal passwords, and the seed of the key that signs peers' logins: 32 bytes each, base64-std. */
export type Internal = Static<typeof Internal>;

/** The user name of unibus itself in an account. */
export function internalUser(account: InternalAccount): string {
  return `unibus-${account.toLowerCase()}`;
}

/**
 * Reads the internal identity, or creates it on first boot.
 * Errors: invalid if the file exists but is malformed: it is never silently replaced.
 */
export function internalIdentity(file: string): Internal {
  if (existsSync(file)) {
    const value = readJson(file);
    if (Value.Check(Internal, value)) return value;
    throw new UnibusError("invalid", `${file} is corrupt (restore it from a backup, or remove it to make a new one)`);
  }
  const secret = () => toBase64(randomBytes(32));
  const made = { issuer_seed: secret(), passwords: { BUS: secret(), CTL: secret(), AUTH: secret(), SYS: secret() } };
  replaceFile(file, textOf(made));
  return made;
}

/** Writes the internal identity derived from a cluster's secret to a file, for commands on the host. */
export function keepInternal(file: string, internal: Internal): void {
  const text = textOf(internal);
  if (!existsSync(file) || readFileSync(file, "utf8") !== text) replaceFile(file, text);
}

const textOf = (internal: Internal): string => `${JSON.stringify(internal, null, 2)}\n`;

function readJson(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch {
    return null;
  }
}

/** The account key that signs auth callout responses. */
export function issuerOf(internal: Internal): Nats["issuer"] {
  const seed = fromBase64(internal.issuer_seed) ?? new Uint8Array(32);
  const { pub, sign } = signingKey(seed);
  return { nkey: accountNkey(pub), sign };
}
