/**
 * Blobs: ciphertexts encrypted by their senders, stored by hash, readable by every user who knows the hash.
 * This plugin has the routes of blobs and the quota of each user. A `BlobStore` (blobs-disk or blobs-nats) stores the
 * bytes. Invariant: stored bytes plus reserved bytes of one user never exceed the quota, even
 * with many parallel uploads.
 */
import { Type } from "@sinclair/typebox";
import { BlobStore, blobBytesMin, blobCharge, overQuota } from "../../contracts/blobs.ts";
import { definePlugin, rawReply, route } from "../../contracts/plugin.ts";
import { UnibusError } from "../../wire/errors.ts";
import { routes } from "../../wire/routes.ts";

const Config = Type.Object(
  {
    bytes_per_user: Type.Optional(
      Type.Integer({ minimum: blobBytesMin, description: "maximum bytes of blobs of one user" }),
    ),
  },
  { additionalProperties: false },
);

/** Default blob quota of one user, in bytes. Source: docs/protocol/limits.md. */
const bytesPerUserDefault = 1_073_741_824;

const downloadHeaders = {
  "content-type": "application/octet-stream",
  "content-disposition": "attachment",
  "x-content-type-options": "nosniff",
  "cache-control": "private, max-age=31536000, immutable",
};

/** An owner's uploads in progress. */
interface UnderWay {
  bytes: number;
  /** Incremented when an upload ends. */
  ended: number;
  uploads: number;
}

/** How often a quota check is repeated while uploads of the same owner end. */
const looksMax = 100;

/**
 * Enforces the blob quota. An upload's cost is reserved before its first byte is read: its declared size, at least the
 * minimum charge of a blob. Bytes beyond the declared size are reserved chunk by chunk. So parallel uploads cannot
 * exceed a quota together.
 */
class Quota {
  readonly #underWay = new Map<string, UnderWay>();

  constructor(
    private readonly blobs: BlobStore,
    private readonly bytesMax: number,
  ) {}

  /**
   * Runs `put` on the chunks of an upload and counts them until the upload ends.
   * Errors: quota at the first excess byte, or before any byte is read if the declared size is too large.
   */
  async during<T>(
    chunks: AsyncIterable<Uint8Array>,
    { owner, declared }: { readonly owner: string; readonly declared: number | null },
    put: (counted: AsyncIterable<Uint8Array>) => Promise<T>,
  ): Promise<T> {
    const mine = this.#underWay.get(owner) ?? { bytes: 0, ended: 0, uploads: 0 };
    this.#underWay.set(owner, mine);
    mine.uploads += 1;
    let reserved = 0;
    const reserve = async (bytes: number): Promise<void> => {
      await this.#reserve(owner, mine, bytes);
      reserved += bytes;
    };
    async function* counted(): AsyncGenerator<Uint8Array> {
      let size = 0;
      for await (const chunk of chunks) {
        size += chunk.byteLength;
        if (size > reserved) await reserve(size - reserved);
        yield chunk;
      }
    }
    try {
      await reserve(blobCharge(declared ?? 0));
      return await put(counted());
    } finally {
      mine.bytes -= reserved;
      mine.ended += 1;
      mine.uploads -= 1;
      if (mine.uploads === 0) this.#underWay.delete(owner);
    }
  }

  /** Reserves bytes. Errors: quota if they do not fit beside the stored and reserved bytes. */
  async #reserve(owner: string, mine: UnderWay, bytes: number): Promise<void> {
    for (let looks = 1; ; looks++) {
      const { ended } = mine;
      const stored = await this.blobs.bytesOf(owner);
      // An upload that ended during the read may be in neither sum, or in both.
      const isCertain = mine.ended === ended || looks === looksMax;
      if (isCertain && stored + mine.bytes + bytes <= this.bytesMax) {
        mine.bytes += bytes;
        return;
      }
      if (isCertain) {
        // An upload that is ending counts twice until this turn of the event loop is over.
        await new Promise((resolve) => setImmediate(resolve));
        if (mine.ended === ended || looks === looksMax) throw overQuota(this.bytesMax);
      }
    }
  }
}

/** Serves POST /blobs, and GET and DELETE /blobs/{hash}. */
export default definePlugin({
  name: "blobs",
  api: 1,
  config: Config,
  requires: { blobs: BlobStore },
  routes: Object.values(routes.blobs),
  async setup({ config }, { blobs }) {
    const bytesMax = config.bytes_per_user ?? bytesPerUserDefault;
    const quota = new Quota(blobs, bytesMax);
    return {
      services: {},
      routes: [
        route(routes.blobs.put, async ({ stream, caller }) => {
          const { endpoint } = caller;
          const { hash, isNew } = await quota.during(stream, { owner: endpoint, declared: stream.size }, (chunks) =>
            blobs.put(chunks, endpoint, stream.hash, bytesMax),
          );
          return rawReply(JSON.stringify({ hash }), { status: isNew ? 201 : 200 });
        }),
        route(routes.blobs.get, async ({ params }) => {
          const blob = await blobs.get(params.hash);
          if (blob === null) throw new UnibusError("not_found", "no such blob (check the hash)");
          return rawReply(blob.body, { headers: downloadHeaders });
        }),
        route(routes.blobs.release, async ({ params, caller }) => {
          if (await blobs.release(params.hash, caller.endpoint)) return undefined;
          throw new UnibusError("not_found", "you have not stored this blob, or deleted it already (check the hash)");
        }),
      ],
    };
  },
});
