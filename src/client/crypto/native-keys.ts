/**
 * Private keys in WebCrypto, which uses them and does not reveal them. Not every browser supports Ed25519 and X25519,
 * and none does on a page outside a secure context (https, or the same machine): the functions that make a key return
 * null there.
 */
import { fromBase64Url, fromHex } from "../../wire/encoding.ts";
import { privateKeyPrefix, type Signer } from "./signer.ts";

/** The two kinds of key. */
export type KeyKind = keyof typeof privateKeyPrefix;

/** A private key in WebCrypto, not extractable, with its raw public key. IndexedDB can store it. */
export interface NativeKey {
  readonly key: CryptoKey;
  readonly pub: Uint8Array<ArrayBuffer>;
}

const uses = { Ed25519: ["sign"], X25519: ["deriveBits"] } as const;
const secretBits = 256;

/** Copies bytes into a buffer of their own, as WebCrypto takes them. */
const copyOf = (bytes: Uint8Array): Uint8Array<ArrayBuffer> => new Uint8Array(bytes);

/** Imports a raw private key of 32 bytes; null if the browser does not support its kind. */
export async function importedKey(kind: KeyKind, raw: Uint8Array): Promise<NativeKey | null> {
  const der = new Uint8Array([...(fromHex(privateKeyPrefix[kind]) ?? []), ...raw]);
  try {
    const { subtle } = crypto;
    // Only an extractable key shows its public key. The private key is in memory at this moment anyway.
    const { x = "" } = await subtle.exportKey("jwk", await subtle.importKey("pkcs8", der, kind, true, uses[kind]));
    const pub = fromBase64Url(x);
    if (pub?.length !== raw.length) return null;
    return { key: await subtle.importKey("pkcs8", der, kind, false, uses[kind]), pub: copyOf(pub) };
  } catch {
    return null;
  } finally {
    der.fill(0);
  }
}

/** Generates a private key; null if the browser does not support its kind. */
export async function generatedKey(kind: KeyKind): Promise<NativeKey | null> {
  try {
    const pair = (await crypto.subtle.generateKey(kind, false, uses[kind])) as CryptoKeyPair;
    return { key: pair.privateKey, pub: new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey)) };
  } catch {
    return null;
  }
}

/** The Ed25519 signature of a message, 64 bytes. */
export async function signedBy({ key }: NativeKey, message: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.sign("Ed25519", key, copyOf(message)));
}

/** The X25519 shared secret with a public key, 32 bytes. Errors: fails for a key of low order. */
export async function agreedBy({ key }: NativeKey, kexPub: Uint8Array): Promise<Uint8Array> {
  const theirs = await crypto.subtle.importKey("raw", copyOf(kexPub), "X25519", true, []);
  return new Uint8Array(await crypto.subtle.deriveBits({ name: "X25519", public: theirs }, key, secretBits));
}

/** A signer whose two private keys are in WebCrypto. */
export function nativeSigner(signing: NativeKey, kex: NativeKey): Signer {
  return {
    signPub: signing.pub,
    kexPub: kex.pub,
    sign: (message) => signedBy(signing, message),
    agree: (kexPub) => agreedBy(kex, kexPub),
  };
}
