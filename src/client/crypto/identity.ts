import { ready } from "#aead";
import { signerOf } from "#signer";
import { signatureHolds } from "#verify";
import { withoutByteOrderMark } from "../../lib/text.ts";
import { bytesOf, fromBase64, toBase64, toHex } from "../../wire/encoding.ts";
import { UnibusError } from "../../wire/errors.ts";
import { endpointId, userNkey } from "../../wire/names.ts";
import { keysText } from "../../wire/sign.ts";
import { openRoomKey } from "./keys.ts";
import type { Signer, Soon } from "./signer.ts";

/** The fields of an identity file and the size of each in bytes. Never changes. Source: docs/protocol/identity.md. */
const identityFields = { sign_pub: 32, sign_priv: 64, kex_pub: 32, kex_priv: 32 } as const;

type Field = keyof typeof identityFields;

const signable = /^unibus-[a-z]+-v[1-9][0-9]*(\n|$)/;

/** The private keys of an identity that has them in memory, 32 bytes each. */
interface Seeds {
  readonly signSeed: Uint8Array;
  readonly kexPriv: Uint8Array;
}

/**
 * The two key pairs of a peer: one to sign, one for key exchange. Its private keys do not appear in JSON or in console
 * output. Source: docs/protocol/identity.md.
 */
export class Identity {
  readonly signPub: Uint8Array;
  readonly kexPub: Uint8Array;
  /** The user key: lowercase hex of `signPub`. */
  readonly signPubHex: string;
  readonly kexPubHex: string;
  readonly endpoint: string;
  /** The same key as a NATS nkey, `U...`. */
  readonly nkey: string;
  readonly #signer: Signer;
  readonly #seeds: Seeds | null;
  #kexSig = "";

  private constructor(signer: Signer, seeds: Seeds | null) {
    this.#signer = signer;
    this.#seeds = seeds;
    this.signPub = signer.signPub;
    this.kexPub = signer.kexPub;
    this.signPubHex = toHex(this.signPub);
    this.kexPubHex = toHex(this.kexPub);
    this.endpoint = endpointId(this.signPub);
    this.nkey = userNkey(this.signPub);
  }

  /**
   * The identity of a signer. `seeds`: its private keys, if they are in memory.
   * Errors: invalid if the signer's signature is not one of its `signPub`.
   * @internal
   */
  static async of(signer: Signer, seeds: Seeds | null = null): Promise<Identity> {
    const identity = new Identity(signer, seeds);
    const text = keysText(identity.signPubHex, identity.kexPubHex);
    const sig = await identity.sign(text);
    if (seeds === null && !(await signatureHolds(identity.signPubHex, text, sig))) {
      throw new UnibusError("invalid", "the signer's signature does not match its signPub (give it the right key)");
    }
    identity.#kexSig = toBase64(sig);
    return identity;
  }

  /** The signature that binds `kexPub` to this identity, base64-std. It is sent wherever kex_pub is. */
  get kexSig(): string {
    return this.#kexSig;
  }

  /** Whether its private keys are in memory, so that `signPriv`, `kexPriv` and `identityText` return them. */
  get isExtractable(): boolean {
    return this.#seeds !== null;
  }

  /** 64 bytes: the seed, then `signPub`. Errors: invalid if the private keys are not in memory. */
  get signPriv(): Uint8Array {
    return new Uint8Array([...this.#inMemory().signSeed, ...this.signPub]);
  }

  /** 32 bytes. Errors: invalid if the private keys are not in memory. */
  get kexPriv(): Uint8Array {
    return this.#inMemory().kexPriv.slice();
  }

  /** The Ed25519 signature of a text whose first line is `unibus-<kind>-v<n>`. Refuses to sign any other text. */
  async sign(text: string): Promise<Uint8Array> {
    return this.signSoon(text);
  }

  /**
   * `sign`, without a promise if the private keys are in memory: a NATS client over TCP cannot wait for a signature.
   * @internal
   */
  signSoon(text: string): Soon<Uint8Array> {
    if (!signable.test(text)) throw new TypeError("an identity only signs texts that begin with unibus-<kind>-v<n>");
    return this.#signer.sign(bytesOf(text));
  }

  /** The room key in a box sealed to this identity, or null if the box does not open. Shape: `sealed` base64-std. */
  openRoomKey(sealed: string): Promise<Uint8Array | null> {
    return openRoomKey(sealed, this.#signer);
  }

  #inMemory(): Seeds {
    if (this.#seeds !== null) return this.#seeds;
    const hint = "restore the identity from its words or its file where you need the keys";
    throw new UnibusError("invalid", `the private keys of this identity cannot be exported (${hint})`);
  }
}

/**
 * The identity of private keys that are elsewhere: in WebCrypto, in a hardware token, on another machine.
 * Errors: invalid if the signer does not sign with its `signPub`; TypeError unless both public keys have 32 bytes.
 */
export async function identityOf(signer: Signer): Promise<Identity> {
  await ready();
  const { signPub, kexPub } = signer;
  if (signPub.length !== 32 || kexPub.length !== 32) throw new TypeError("signPub and kexPub must have 32 bytes");
  return Identity.of({
    signPub: signPub.slice(),
    kexPub: kexPub.slice(),
    sign: (message) => signer.sign(message),
    agree: (theirs) => signer.agree(theirs),
  });
}

/** The identity of an Ed25519 seed and an X25519 private key, 32 bytes each. */
export async function identityFromSeeds(signSeed: Uint8Array, kexPriv: Uint8Array): Promise<Identity> {
  await ready();
  if (signSeed.length !== 32 || kexPriv.length !== 32) throw new TypeError("signSeed and kexPriv must have 32 bytes");
  const seeds = { signSeed: signSeed.slice(), kexPriv: kexPriv.slice() };
  return Identity.of(await signerOf(seeds.signSeed, seeds.kexPriv), seeds);
}

/** Generates an identity from random bytes. Its private keys are in memory: see `createBrowserIdentity`. */
export async function generateIdentity(): Promise<Identity> {
  const random = () => crypto.getRandomValues(new Uint8Array(32));
  return identityFromSeeds(random(), random());
}

const fault = (what: string): never => {
  throw new UnibusError(
    "invalid",
    `${what} (restore the file from a copy, or from its words with \`identity restore\`)`,
  );
};

function fieldsOf(text: string): Record<Field, Uint8Array> {
  let json: unknown;
  try {
    json = JSON.parse(withoutByteOrderMark(text));
  } catch {
    return fault("the identity is not JSON");
  }
  if (typeof json !== "object" || json === null || Array.isArray(json))
    return fault("the identity is not a JSON object");
  const given = json as Record<string, unknown>;
  const unknownField = Object.keys(given).find((name) => !Object.hasOwn(identityFields, name));
  if (unknownField !== undefined) fault(`the identity has an unknown field ${JSON.stringify(unknownField)}`);
  const read = (name: Field): Uint8Array => {
    const value = Object.hasOwn(given, name) ? given[name] : undefined;
    if (typeof value !== "string") return fault(`${name} of the identity is missing or not a string`);
    const bytes = fromBase64(value) ?? fault(`${name} of the identity is not base64`);
    const size = identityFields[name];
    return bytes.length === size ? bytes : fault(`${name} of the identity has ${bytes.length} bytes, not ${size}`);
  };
  return {
    sign_pub: read("sign_pub"),
    sign_priv: read("sign_priv"),
    kex_pub: read("kex_pub"),
    kex_priv: read("kex_priv"),
  };
}

/**
 * Parses an identity file.
 * Errors: invalid unless it has four keys of the right size that belong together. An error never contains a key.
 * Source: docs/protocol/identity.md.
 */
export async function parseIdentity(text: string): Promise<Identity> {
  const { sign_pub, sign_priv, kex_pub, kex_priv } = fieldsOf(text);
  const identity = await identityFromSeeds(sign_priv.slice(0, 32), kex_priv);
  if (toHex(sign_priv.slice(32)) !== identity.signPubHex)
    fault("the two halves of the identity's sign_priv do not match");
  if (toHex(sign_pub) !== identity.signPubHex) fault("sign_pub and sign_priv of the identity do not match");
  if (toHex(kex_pub) !== identity.kexPubHex) fault("kex_pub and kex_priv of the identity do not match");
  return identity;
}

/**
 * The content of an identity file, which includes the private keys. Errors: invalid if they are not in memory.
 */
export function identityText(identity: Identity): string {
  const fields: Record<Field, string> = {
    sign_pub: toBase64(identity.signPub),
    sign_priv: toBase64(identity.signPriv),
    kex_pub: toBase64(identity.kexPub),
    kex_priv: toBase64(identity.kexPriv),
  };
  return `${JSON.stringify(fields, null, 2)}\n`;
}
