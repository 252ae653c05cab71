/**
 * The schemas for stored messages and blobs: a part of api.ts, which exports them, too.
 * Source: docs/reference/http.md.
 */
import { Type } from "@sinclair/typebox";
import { ulidPattern } from "./names.ts";

const strict = { additionalProperties: false } as const;

/** The most frames in one history reply, and the default. Source: docs/protocol/history.md. */
export const historyLimit = { max: 1_000, default: 200 } as const;
/** The most bytes of frames in one history reply. Source: docs/protocol/history.md. */
export const historyBytesMax = 8 * 1_048_576;
const Seq = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
/**
 * The query of GET history: the last frames, those before a sequence number, or the first ones after a sequence number
 * or from a time on. A `limit` that is not a number counts as absent.
 */
export const HistoryQuery = Type.Object({
  limit: Type.Optional(Type.String()),
  before: Type.Optional(Seq),
  after: Type.Optional(Seq),
  since: Type.Optional(Type.String({ maxLength: 64, description: "RFC 3339; when the bus stored the frame" })),
});
/** The reply of GET /rooms/{id}/history: frames exactly as published, in base64-std, oldest first. */
export const History = Type.Object(
  {
    messages: Type.Array(Type.String()),
    seqs: Type.Array(Type.Integer(), { description: "the sequence number of each message" }),
    first_seq: Type.Integer(),
    last_seq: Type.Integer(),
    more: Type.Boolean({ description: "whether there are more frames in the direction of the page" }),
  },
  strict,
);

/** The path parameters of a stored message: its room and its sequence number. */
export const MessageParams = Type.Object(
  {
    id: Type.String({ pattern: ulidPattern }),
    seq: Type.String({ pattern: "^[1-9][0-9]{0,14}$", description: "a sequence number" }),
  },
  strict,
);
/** The reply of DELETE /rooms/{id}/messages/{seq}: the hash of the frame that was erased. */
export const MessageErased = Type.Object(
  { sha256: Type.String({ description: "of the erased frame, in hex" }) },
  strict,
);
/** The most messages that one user may erase in a minute. Source: docs/protocol/limits.md. */
export const erasedPerMinuteMax = 60;

/** The largest blob, in bytes. Source: docs/protocol/limits.md. */
export const blobBytesMax = 16 * 1_048_576;
/** The reply of POST /blobs. */
export const BlobStored = Type.Object({ hash: Type.String() }, strict);
/** The `{hash}` path parameter of a blob. */
export const BlobParams = Type.Object({ hash: Type.String({ pattern: "^[0-9a-f]{64}$" }) }, strict);
