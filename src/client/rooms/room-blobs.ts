/** The blobs of one room: encrypted with its key before upload, and verified after download. */
import { UnibusError } from "../../wire/errors.ts";
import type { BlobRef } from "../../wire/frame.ts";
import { openBlob, sealBlob } from "../crypto/frames.ts";
import type { ControlPlane } from "../transport/control.ts";
import type { RoomKeys } from "../trust/room-keys.ts";

/** A blob of a room, and the epoch of its key. `putBlob` returns it; `getBlob` takes it or any message with a blob. */
export interface StoredBlob {
  readonly blob: BlobRef;
  readonly epoch: number;
}

/** What may reference a blob, such as a message. */
type NamedBlob = { readonly blob: BlobRef | null; readonly epoch: number };

/** Stores and fetches the blobs of one room. */
export class RoomBlobs {
  constructor(
    private readonly roomId: string,
    private readonly keys: RoomKeys,
    private readonly control: ControlPlane,
  ) {}

  /**
   * Encrypts a blob with the key of an epoch and stores it. Errors: too_large, quota; invalid in an unencrypted room.
   */
  async put(plaintext: Uint8Array, epoch: number, signal?: AbortSignal): Promise<StoredBlob> {
    const roomKey = await this.#key(epoch, signal);
    const { ciphertext, ref } = sealBlob(plaintext, { roomId: this.roomId, epoch, roomKey });
    await this.control.putBlob(ciphertext, signal);
    return { blob: ref, epoch };
  }

  /** Fetches and decrypts the blob of a message. Errors: not_found; invalid if the bytes do not match the reference. */
  async get({ blob, epoch }: NamedBlob, signal?: AbortSignal): Promise<Uint8Array> {
    if (blob === null) throw new UnibusError("not_found", "this message has no blob (choose another message)");
    const roomKey = await this.#key(epoch, signal);
    const ciphertext = await this.control.getBlob(blob.h, signal);
    const opened = openBlob(ciphertext, blob, { roomId: this.roomId, epoch, roomKey });
    if (opened instanceof Uint8Array) return opened;
    const what = `the server returned the wrong blob: ${opened.fault}`;
    throw new UnibusError("invalid", `${what} (do not trust it)`);
  }

  async #key(epoch: number, signal: AbortSignal | undefined): Promise<Uint8Array> {
    const key = await this.keys.key(epoch, signal);
    if (key !== null) return key;
    throw new UnibusError("invalid", "this room is not encrypted, so it has no blobs (use an encrypted room)");
  }
}
