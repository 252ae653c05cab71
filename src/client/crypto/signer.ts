/** The private half of an identity, as an interface: the keys may be in memory, or where no program can read them. */

/** A value, or a promise of it. */
export type Soon<T> = T | Promise<T>;

/**
 * The private keys of an identity, wherever they are. `identityOf` makes an identity of it.
 * Shape: both public keys have 32 bytes.
 */
export interface Signer {
  /** The Ed25519 public key. */
  readonly signPub: Uint8Array;
  /** The X25519 public key. */
  readonly kexPub: Uint8Array;
  /** The Ed25519 signature of a message, 64 bytes. */
  readonly sign: (message: Uint8Array) => Soon<Uint8Array>;
  /** The X25519 shared secret with another public key, 32 bytes. Errors: fails for a key of low order. */
  readonly agree: (kexPub: Uint8Array) => Soon<Uint8Array>;
}

/** A fresh X25519 key pair's shared secret with a public key. The private key is forgotten. */
export interface Agreement {
  readonly ephemeralPub: Uint8Array;
  readonly secret: Uint8Array;
}

/** The bytes that precede a raw key in DER, by algorithm. Source: RFC 8410. */
export const privateKeyPrefix = {
  Ed25519: "302e020100300506032b657004220420",
  X25519: "302e020100300506032b656e04220420",
} as const;
