import sodium from "libsodium-wrappers";

/** Seals a message so that only the holder of a kex key can open it. Errors: throws for a kex key of low order. */
export function sealBox(message: Uint8Array, kexPub: Uint8Array): Uint8Array {
  return sodium.crypto_box_seal(message, kexPub);
}

/** Opens a sealed box. Errors: throws if the box is for other keys, or damaged. */
export function openBox(box: Uint8Array, kexPub: Uint8Array, kexPriv: Uint8Array): Uint8Array {
  return sodium.crypto_box_seal_open(box, kexPub, kexPriv);
}
