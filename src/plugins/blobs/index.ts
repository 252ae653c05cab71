/** Blobs: encrypted by their senders, kept by hash, for every user who knows the hash. */
import { Type } from "@sinclair/typebox";
import { BlobStore, overQuota } from "../../contracts/blobs.ts";
import { definePlugin, rawReply, route } from "../../contracts/plugin.ts";
import { BlobParams, BlobStored, blobBytesMax } from "../../wire/api.ts";
import { UnibusError } from "../../wire/errors.ts";

const Config = Type.Object(
  {
    bytes_per_user: Type.Optional(Type.Integer({ minimum: 1, description: "bytes of blobs that one user may bring" })),
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

async function* counted(chunks: AsyncIterable<Uint8Array>, count: (bytes: number) => Promise<void>) {
  for await (const chunk of chunks) {
    await count(chunk.byteLength);
    yield chunk;
  }
}

/** Counts what is under way, so that many uploads at once do not pass a quota that each of them keeps. */
class Quota {
  readonly #underWay = new Map<string, number>();

  constructor(
    private readonly blobs: BlobStore,
    private readonly bytesMax: number,
  ) {}

  /**
   * Runs `put` on the chunks of an upload, which are counted until it is over.
   * Errors: quota at the first byte too much.
   */
  async during<T>(
    chunks: AsyncIterable<Uint8Array>,
    owner: string,
    put: (counted: AsyncIterable<Uint8Array>) => Promise<T>,
  ): Promise<T> {
    let mine = 0;
    const { blobs, bytesMax } = this;
    const count = async (bytes: number): Promise<void> => {
      mine += bytes;
      this.#add(owner, bytes);
      if ((await blobs.bytesOf(owner)) + (this.#underWay.get(owner) ?? 0) <= bytesMax) return;
      throw overQuota(bytesMax);
    };
    try {
      return await put(counted(chunks, count));
    } finally {
      this.#add(owner, -mine);
    }
  }

  #add(owner: string, bytes: number): void {
    const sum = (this.#underWay.get(owner) ?? 0) + bytes;
    if (sum === 0) this.#underWay.delete(owner);
    else this.#underWay.set(owner, sum);
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
            const { hash, isNew } = await quota.during(stream, endpoint, (chunks) =>
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
