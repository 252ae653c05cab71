/**
 * Private keys in a browser's memory. Imported as `#signer` there. WebCrypto uses them where the browser supports their
 * kind, else `@noble/ed25519` and `@noble/curves`.
 */
import { publicKeyOf, signedWith } from "./ed25519.ts";
import { agreedBy, generatedKey, importedKey, signedBy } from "./native-keys.ts";
import type { Agreement, Signer } from "./signer.ts";
import { x25519 } from "./x25519.ts";

/** A signer with the private keys in memory. Shape: an Ed25519 seed and an X25519 private key, 32 bytes each. */
export async function signerOf(signSeed: Uint8Array, kexPriv: Uint8Array): Promise<Signer> {
  const [seed, priv] = [signSeed.slice(), kexPriv.slice()];
  const [signing, kex] = await Promise.all([importedKey("Ed25519", seed), importedKey("X25519", priv)]);
  return {
    signPub: signing?.pub ?? publicKeyOf(seed),
    kexPub: kex?.pub ?? x25519.getPublicKey(priv),
    sign: (message) => (signing === null ? signedWith(seed, message) : signedBy(signing, message)),
    agree: (kexPub) => (kex === null ? x25519.getSharedSecret(priv, kexPub) : agreedBy(kex, kexPub)),
  };
}

/** Agrees on a secret with the owner of a key, with a fresh key pair. Errors: fails for a key of low order. */
export async function freshAgreement(kexPub: Uint8Array): Promise<Agreement> {
  const own = await generatedKey("X25519");
  if (own !== null) return { ephemeralPub: own.pub, secret: await agreedBy(own, kexPub) };
  const { secretKey, publicKey } = x25519.keygen();
  return { ephemeralPub: publicKey, secret: x25519.getSharedSecret(secretKey, kexPub) };
}
