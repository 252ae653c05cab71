import sodium from "libsodium-wrappers";

/** A sealed box that only the holder of a kex key can open. Errors: throws for a kex key of low order. */
export function sealBox(message: Uint8Array, kexPub: Uint8Array): Uint8Array {
  return sodium.crypto_box_seal(message, kexPub);
}

/** What is in a sealed box. Errors: throws for a box that is not for these keys, or is damaged. */
export function openBox(box: Uint8Array, kexPub: Uint8Array, kexPriv: Uint8Array): Uint8Array {
  return sodium.crypto_box_seal_open(box, kexPub, kexPriv);
}
