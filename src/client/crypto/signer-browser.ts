/**
 * Private keys in a browser's memory. Imported as `#signer` there. WebCrypto uses them where the browser supports their
 * kind, else `@noble/ed25519` and `x25519.ts`.
 */
import { publicKeyOf, signedWith } from "./ed25519.ts";
import { agreedBy, generatedKey, importedKey, signedBy } from "./native-keys.ts";
import type { Agreement, Signer } from "./signer.ts";
import { publicKexOf, sharedSecret } from "./x25519.ts";

/** A signer with the private keys in memory. Shape: an Ed25519 seed and an X25519 private key, 32 bytes each. */
export async function signerOf(signSeed: Uint8Array, kexPriv: Uint8Array): Promise<Signer> {
  const [seed, priv] = [signSeed.slice(), kexPriv.slice()];
  const [signing, kex] = await Promise.all([importedKey("Ed25519", seed), importedKey("X25519", priv)]);
  return {
    signPub: signing?.pub ?? publicKeyOf(seed),
    kexPub: kex?.pub ?? publicKexOf(priv),
    sign: (message) => (signing === null ? signedWith(seed, message) : signedBy(signing, message)),
    agree: (kexPub) => (kex === null ? sharedSecret(priv, kexPub) : agreedBy(kex, kexPub)),
  };
}

/** Agrees on a secret with the owner of a key, with a fresh key pair. Errors: fails for a key of low order. */
export async function freshAgreement(kexPub: Uint8Array): Promise<Agreement> {
  const own = await generatedKey("X25519");
  if (own !== null) return { ephemeralPub: own.pub, secret: await agreedBy(own, kexPub) };
  const priv = crypto.getRandomValues(new Uint8Array(32));
  return { ephemeralPub: publicKexOf(priv), secret: sharedSecret(priv, kexPub) };
}
