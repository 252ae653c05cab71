import { isSoundSignKey } from "../wire/curve.ts";
import { fromHex } from "../wire/encoding.ts";

/** How many signing keys are remembered: more than a room has members, for several rooms. */
const keysMax = 8_192;

/**
 * What a platform makes of signing keys before it verifies under them, each made once.
 * It is also where the client refuses a key under which anything verifies: the platform would not.
 */
export class SoundKeys<Key> {
  readonly #made = new Map<string, Key | null>();

  constructor(private readonly make: (signPub: Uint8Array<ArrayBuffer>) => Key) {}

  /** What was made of a key in hex, or null for one that proves nobody. */
  of(signPub: string): Key | null {
    const known = this.#made.get(signPub);
    if (known !== undefined) return known;
    const raw = new Uint8Array(fromHex(signPub) ?? []);
    const made = isSoundSignKey(raw) ? this.make(raw) : null;
    this.#made.set(signPub, made);
    if (this.#made.size > keysMax) {
      const oldest = this.#made.keys().next().value;
      if (oldest !== undefined) this.#made.delete(oldest);
    }
    return made;
  }
}
