/** Blobs: encrypted by their senders, kept by hash, for every user who knows the hash. */
import { Type } from "@sinclair/typebox";
import { BlobStore, blobBytesMin, blobCharge, overQuota } from "../../contracts/blobs.ts";
import { definePlugin, rawReply, route } from "../../contracts/plugin.ts";
import { BlobParams, BlobStored, blobBytesMax } from "../../wire/api.ts";
import { UnibusError } from "../../wire/errors.ts";

const Config = Type.Object(
  {
    bytes_per_user: Type.Optional(
      Type.Integer({ minimum: blobBytesMin, description: "bytes of blobs that one user may bring" }),
    ),
  },
  { additionalProperties: false },
);

/** Bytes of one user's blobs where nothing is set. Source: spec 9. */
const bytesPerUserDefault = 1_073_741_824;

const downloadHeaders = {
  "content-type": "application/octet-stream",
  "content-disposition": "attachment",
  "x-content-type-options": "nosniff",
  "cache-control": "private, max-age=31536000, immutable",
};

/** What an owner has under way. */
interface UnderWay {
  bytes: number;
  /** Grows with each upload that ends. */
  ended: number;
  uploads: number;
}

/** How often a refusal is looked at again while uploads of the same owner end. */
const looksMax = 100;

/**
 * The quota of blobs. What an upload will cost is reserved before its first byte is read: its declared size, at least
 * what any blob costs; what comes beyond that, piece by piece. So many uploads at once do not pass a quota together.
 */
class Quota {
  readonly #underWay = new Map<string, UnderWay>();

  constructor(
    private readonly blobs: BlobStore,
    private readonly bytesMax: number,
  ) {}

  /**
   * Runs `put` on the chunks of an upload, which are counted until it is over.
   * Errors: quota at the first byte too much, before any is read where the size is declared.
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

  /** Errors: quota where it does not fit with what is stored and what is under way. */
  async #reserve(owner: string, mine: UnderWay, bytes: number): Promise<void> {
    for (let looks = 1; ; looks++) {
      const { ended } = mine;
      const stored = await this.blobs.bytesOf(owner);
      // An upload that ended meanwhile may be in neither sum, or in both.
      const isCertain = mine.ended === ended || looks === looksMax;
      if (isCertain && stored + mine.bytes + bytes <= this.bytesMax) {
        mine.bytes += bytes;
        return;
      }
      if (isCertain) {
        // One that is just ending counts twice until this turn of the event loop is over.
        await new Promise((resolve) => setImmediate(resolve));
        if (mine.ended === ended || looks === looksMax) throw overQuota(this.bytesMax);
      }
    }
  }
}

/** Answers POST /blobs and GET /blobs/{hash}. */
export default definePlugin({
  name: "blobs",
  api: 1,
  config: Config,
  requires: { blobs: BlobStore },
  async setup({ config }, { blobs }) {
    const bytesMax = config.bytes_per_user ?? bytesPerUserDefault;
    const quota = new Quota(blobs, bytesMax);
    return {
      services: {},
      routes: [
        route(
          "POST",
          "/blobs",
          "signed",
          {
            summary: "Stores a ciphertext: 201, or 200 when it is known",
            errors: ["quota"],
            stream: true,
            bodyBytesMax: blobBytesMax,
            reply: BlobStored,
            status: 201,
          },
          async ({ stream, caller }) => {
            const { endpoint } = caller;
            const { hash, isNew } = await quota.during(stream, { owner: endpoint, declared: stream.size }, (chunks) =>
              blobs.put(chunks, endpoint, stream.hash, bytesMax),
            );
            return rawReply(JSON.stringify({ hash }), { status: isNew ? 201 : 200 });
          },
        ),
        route(
          "GET",
          "/blobs/:hash",
          "signed",
          {
            summary: "A ciphertext, as an attachment",
            errors: ["not_found"],
            params: BlobParams,
            replyType: "application/octet-stream",
          },
          async ({ params }) => {
            const blob = await blobs.get(params.hash);
            if (blob === null) throw new UnibusError("not_found", "there is no such blob (check the hash)");
            return rawReply(blob.body, { headers: downloadHeaders });
          },
        ),
      ],
    };
  },
});
