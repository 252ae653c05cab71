import { LruCache } from "../../lib/lru-cache.ts";
import { isSoundSignKey } from "../../wire/curve.ts";
import { fromHex } from "../../wire/encoding.ts";

/** How many signing keys are cached: enough for the members of several rooms. */
const keysMax = 8_192;

/**
 * A cache of signing keys in the platform's form, for verification. It also rejects unsound keys, under which any
 * signature verifies: the platform itself accepts them.
 */
export class SoundKeys<Key> {
  readonly #made = new LruCache<Key | null>(keysMax);

  constructor(private readonly make: (signPub: Uint8Array<ArrayBuffer>) => Key) {}

  /** The platform's key for a key in hex, or null if the key is unsound. */
  of(signPub: string): Key | null {
    const known = this.#made.get(signPub);
    if (known !== undefined) return known;
    const raw = new Uint8Array(fromHex(signPub) ?? []);
    const made = isSoundSignKey(raw) ? this.make(raw) : null;
    this.#made.set(signPub, made);
    return made;
  }
}
