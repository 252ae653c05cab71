/** Private keys in memory, used by OpenSSL. Imported as `#signer` in Node and Bun. */
import {
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
  sign,
} from "node:crypto";
import { type Agreement, privateKeyPrefix, type Signer } from "./signer.ts";

/** The bytes that precede a raw X25519 public key in DER. An Ed25519 key has as many. Source: RFC 8410. */
const publicKeyPrefix = Buffer.from("302a300506032b656e032100", "hex");

const privateKey = (kind: keyof typeof privateKeyPrefix, raw: Uint8Array): KeyObject => {
  const prefix = Buffer.from(privateKeyPrefix[kind], "hex");
  return createPrivateKey({ key: Buffer.concat([prefix, raw]), format: "der", type: "pkcs8" });
};

const kexKey = (raw: Uint8Array): KeyObject =>
  createPublicKey({ key: Buffer.concat([publicKeyPrefix, raw]), format: "der", type: "spki" });

/** The raw bytes of a public key. */
const rawOf = (key: KeyObject): Uint8Array =>
  new Uint8Array(key.export({ format: "der", type: "spki" }).subarray(publicKeyPrefix.length));

/** A signer with the private keys in memory. Shape: an Ed25519 seed and an X25519 private key, 32 bytes each. */
export async function signerOf(signSeed: Uint8Array, kexPriv: Uint8Array): Promise<Signer> {
  const [signing, kex] = [privateKey("Ed25519", signSeed), privateKey("X25519", kexPriv)];
  return {
    signPub: rawOf(createPublicKey(signing)),
    kexPub: rawOf(createPublicKey(kex)),
    sign: (message) => new Uint8Array(sign(null, message, signing)),
    agree: (kexPub) => diffieHellman({ privateKey: kex, publicKey: kexKey(kexPub) }),
  };
}

/** Agrees on a secret with the owner of a key, with a fresh key pair. Errors: fails for a key of low order. */
export async function freshAgreement(kexPub: Uint8Array): Promise<Agreement> {
  const own = generateKeyPairSync("x25519");
  const secret = diffieHellman({ privateKey: own.privateKey, publicKey: kexKey(kexPub) });
  return { ephemeralPub: rawOf(own.publicKey), secret };
}
