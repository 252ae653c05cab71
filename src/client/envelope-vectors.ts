/**
 * Test vectors of the envelope: valid and invalid payloads, frames with an envelope, and a file in parts.
 *
 * The production code encodes each example and decodes it again, and prints what it decoded. `vectors.ts` adds these
 * groups to the others. An independent program made the same values, except those of `ownEnvelopes`.
 * Source: docs/protocol/envelope.md.
 */
import { joinBytes, u16 } from "../lib/big-endian.ts";
import { type ChainEntry, halfHash, noHash, type StatementTag } from "../wire/chain-entry.ts";
import { bytesOf, fromBase64, fromHex, sha256Hex, toHex } from "../wire/encoding.ts";
import {
  type BadEnvelope,
  type Content,
  contentOf,
  decodeEnvelope,
  type EnvelopeHeader,
  encodeEnvelope,
  envelopeMagic,
  headerBytesMax,
} from "../wire/envelope.ts";
import {
  blobRefText,
  decodeFrame,
  type FrameType,
  frameAad,
  frameSigningText,
  frameTypes,
  isDropped,
} from "../wire/frame.ts";
import { decodeManifest, encodeManifest } from "../wire/parts.ts";
import { sealBlobUnder, sealFrameUnder } from "./crypto/sealing.ts";
import { firstId, run, secondId, type Vector, type VectorRoom, type Vectors } from "./vector-room.ts";

const hello = bytesOf("hello, room");
const none = new Uint8Array();
const maxU32 = 0xffffffff;
const thumb = bytesOf("👍");
const frameIds = ["01BX5ZZKBKACTAV9WEVGEMMVS3", "01BX5ZZKBKACTAV9WEVGEMMVS4"] as const;

/** Values that several examples use: places in chains, and the statement. */
function links({ statement, frames }: VectorRoom) {
  const [published, reacted] = [halfHash(frames[0]), halfHash(frames[1])];
  const id = (first: number) => toHex(run(first, 8));
  const own: ChainEntry = { id: id(0x01), n: 0, hash: noHash };
  const tag: StatementTag = { version: 2, hash: halfHash(statement) };
  return { published, reacted, id, own, tag, erased: fromHex(sha256Hex(frames[0])) ?? none };
}

type Example = readonly [name: string, header: EnvelopeHeader, body: Uint8Array];

/** Bare payloads, in frames of type 0. */
const bare: readonly (readonly [name: string, payload: Uint8Array])[] = [
  ["bare-text", hello],
  ["bare-empty", none],
  ["bare-not-utf8", Uint8Array.of(0xff, 0x00)],
  ["bare-part-of-the-magic", Uint8Array.from(envelopeMagic.slice(0, -1))],
  ["bare-another-version", Uint8Array.of(0x00, 0x75, 0x62, 0x02, 0x00, 0x00)],
];

/** Examples of each kind. */
function kindExamples(room: VectorRoom): Example[] {
  const { published, reacted, id, own, tag, erased } = links(room);
  return [
    ["no-fields", {}, hello],
    ["no-fields-no-body", {}, none],
    ["text-that-begins-with-the-magic", {}, joinBytes([Uint8Array.from(envelopeMagic), bytesOf("hello")])],
    ["text", { kind: "text", chain: own, statement: tag }, hello],
    [
      "all-tags",
      {
        kind: "file",
        mediaType: "text/plain; charset=utf-8",
        fileName: "résumé.txt",
        chain: { id: own.id, n: 2, hash: published },
        heads: [
          { id: id(0x11), n: 0, hash: published },
          { id: id(0x21), n: maxU32, hash: reacted },
        ],
        statement: tag,
        hops: 8,
        void: [0, maxU32],
      },
      bytesOf("my résumé"),
    ],
    ["data", { kind: "data", mediaType: "application/octet-stream" }, run(0xf8, 8)],
    ["file", { kind: "file", mediaType: "image/png", fileName: "cat.png" }, bytesOf("a cat")],
    ["edit", { kind: "edit" }, bytesOf("hello, all of you")],
    ["delete", { kind: "delete" }, erased],
    ["delete-without-erasing", { kind: "delete" }, none],
    ["unreact", { kind: "unreact" }, thumb],
    ["pin", { kind: "pin" }, bytesOf(`${firstId}\n${secondId}`)],
    ["pin-none", { kind: "pin" }, none],
    ["receipt", { kind: "receipt" }, none],
    ["app", { kind: "app.poll-vote" }, bytesOf('{"choice":2}')],
  ];
}

/** Examples at the limits of the format. */
function limitExamples(room: VectorRoom): Example[] {
  const { published, reacted, id } = links(room);
  const unknown = (tag: number, value: Uint8Array) => ({ tag, value });
  const heads = [published, published, reacted, reacted].map((hash, at) => ({ id: id(at + 1), n: at + 1, hash }));
  return [
    ["first-of-a-new-chain-after-a-former", { chain: { id: id(0x31), n: 0, hash: reacted } }, bytesOf("back again")],
    ["heads-4", { heads }, none],
    ["void-16", { hops: 0, void: Array.from({ length: 16 }, (_, at) => 3 * at) }, bytesOf("16 never stored")],
    ["kind-32", { kind: `app.${"z".repeat(28)}` }, none],
    ["media-127", { kind: "file", mediaType: `a/${"b".repeat(125)}`, fileName: "n".repeat(255) }, none],
    ["unknown-low-tag", { kind: "text", unknown: [unknown(100, bytesOf("later"))] }, hello],
    ["unknown-low-tag-empty", { unknown: [unknown(9, none), unknown(127, none)] }, hello],
    ["unknown-high-tag", { kind: "text", unknown: [unknown(128, Uint8Array.of(1))] }, hello],
    ["unknown-high-tag-255", { unknown: [unknown(255, none)] }, hello],
    ["unknown-kind", { kind: "poll" }, hello],
    ["header-1024", { unknown: [unknown(99, new Uint8Array(headerBytesMax - 3).fill(7))] }, hello],
  ];
}

const linkFields = ({ id, n, hash }: ChainEntry) => ({ id, n, hash });

/** A header with the names of docs/protocol/envelope.md, its bytes in hex. */
function fieldsOf(header: EnvelopeHeader): Vector {
  const { kind, mediaType, fileName, chain, heads, statement, hops, parts, unknown } = header;
  const all = {
    kind,
    media_type: mediaType,
    file_name: fileName,
    chain: chain && { id: chain.id, n: chain.n, prev: chain.hash },
    heads: heads?.map(linkFields),
    statement: statement && { version: statement.version, hash: statement.hash },
    hops,
    void: header.void,
    parts: parts && { size: Number(parts.size), count: parts.count },
    unknown: unknown?.map(({ tag, value }) => ({ tag, value: toHex(value) })),
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)) as Vector;
}

function valid(name: string, content: Content | BadEnvelope): Content {
  if (isDropped(content)) throw new TypeError(`the test vector ${name} is dropped: ${content.fault}`);
  return content;
}

function envelopeVector(name: string, payload: Uint8Array, type: FrameType): Vector {
  const { kind, header, body } = valid(name, contentOf(type, payload));
  const isBare = body.length === payload.length;
  const bodyAt = payload.length - body.length;
  return {
    name,
    payload: toHex(payload),
    bare: isBare,
    header: isBare ? "" : toHex(payload.subarray(envelopeMagic.length + 2, bodyAt)),
    fields: fieldsOf(header),
    kind,
    body: toHex(body),
  };
}

const reactions: readonly (readonly [name: string, payload: Uint8Array])[] = [
  ["react", encodeEnvelope({ kind: "react" }, thumb)],
  ["react-bare", thumb],
];

/** The examples that the independent program does not have. */
async function ownEnvelopes(room: VectorRoom): Promise<Vector[]> {
  const title: Example = ["title", { kind: "title", statement: links(room).tag }, bytesOf("Team Zürich")];
  return [
    ...reactions.map(([name, payload]) => ({ ...envelopeVector(name, payload, frameTypes.REACT), type: 6 })),
    envelopeVector(title[0], encodeEnvelope(title[1], title[2]), frameTypes.PUB),
    await fileVector(room),
  ];
}

/** A file of two parts: its message, the manifest, and the blobs. */
async function fileVector({ roomId, roomKeys }: VectorRoom): Promise<Vector> {
  const blobRoom = { roomId, epoch: 1, roomKey: roomKeys[0] };
  const texts = [bytesOf("the first part, "), bytesOf("and the second")];
  const seal = async (text: Uint8Array, at: number) => ({
    ...{ text, ...(await sealBlobUnder(run(0x70 + 0x18 * at, 24), text, blobRoom)) },
  });
  const parts = await Promise.all(texts.map(seal));
  const size = texts.reduce((sum, { length }) => sum + length, 0);
  const tag = { size: BigInt(size), count: parts.length };
  const manifest = encodeManifest(parts.map(({ ref }) => ref));
  if (decodeManifest(manifest, tag) === null) throw new TypeError("a test vector's manifest is not valid");
  const sealed = await sealBlobUnder(run(0x30, 24), manifest, blobRoom);
  const header = { kind: "file", mediaType: "text/plain", fileName: "two-parts.txt", parts: tag };
  return {
    ...envelopeVector("file-of-two-parts", encodeEnvelope(header, none), frameTypes.PUB),
    room_id: roomId,
    epoch: 1,
    room_key: toHex(roomKeys[0]),
    parts: parts.map(({ text, ciphertext, ref }) => ({
      plaintext: toHex(text),
      ciphertext: toHex(ciphertext),
      ref: blobRefText(ref),
    })),
    manifest: toHex(manifest),
    manifest_ciphertext: toHex(sealed.ciphertext),
    b: blobRefText(sealed.ref),
  };
}

const field = (tag: number, ...value: readonly (number | Uint8Array | string)[]): Uint8Array => {
  const bytes = joinBytes(
    value.map((one) => {
      if (typeof one === "number") return Uint8Array.of(one);
      return typeof one === "string" ? bytesOf(one) : one;
    }),
  );
  return joinBytes([Uint8Array.of(tag), u16(bytes.length), bytes]);
};

/** Invalid envelopes that end before their header does. */
const cutPayloads: readonly (readonly [name: string, rest: Uint8Array])[] = [
  ["magic-alone", none],
  ["half-a-length", Uint8Array.of(0)],
  ["header-cut", joinBytes([u16(7), field(1, "tex")])],
];

/** Headers with a fault in their fields. */
function badHeaders(room: VectorRoom): (readonly [name: string, ...header: Uint8Array[]])[] {
  const { published, id, tag } = links(room);
  const text = field(1, "text");
  const hex = (text: string) => fromHex(text) ?? none;
  const chain = joinBytes([hex(id(0x01)), new Uint8Array(20)]);
  const head = joinBytes([hex(id(0x11)), new Uint8Array(4), hex(published)]);
  const statement = joinBytes([Uint8Array.of(0, 0, 0, 2), hex(tag.hash)]);
  return [
    ["header-1025", field(99, new Uint8Array(headerBytesMax - 2).fill(7))],
    ["a-tag-without-length", text, Uint8Array.of(2)],
    ["half-a-field-length", text, Uint8Array.of(2, 0)],
    ["length-past-the-end", Uint8Array.of(1, 0, 5), bytesOf("text")],
    ["length-far-past-the-end", Uint8Array.of(100, 0xff, 0xff)],
    ["not-ascending", field(7, 1), field(4, chain)],
    ["not-ascending-unknown", field(101), field(100)],
    ["repeated-tag", text, text],
    ["repeated-unknown-tag", field(100, 1), field(100, 1)],
    ["tag-0", field(0)],
    ["kind-empty", field(1)],
    ["kind-33", field(1, `app.${"z".repeat(29)}`)],
    ["kind-upper-case", field(1, "Text")],
    ["kind-line-feed", field(1, "text\n")],
    ["media-empty", field(2)],
    ["media-128", field(2, "a".repeat(128))],
    ["media-not-ascii", field(2, "téxt/plain")],
    ["media-control", field(2, "text/plain\r\nx: y")],
    ["name-empty", field(3)],
    ["name-256", field(3, "n".repeat(256))],
    ["name-not-utf8", field(3, "a", 0xff)],
    ["name-not-nfc", field(3, "résumé.txt".normalize("NFD"))],
    ["name-slash", field(3, "../passwd")],
    ["name-backslash", field(3, "..\\passwd")],
    ["name-dot", field(3, ".")],
    ["name-dot-dot", field(3, "..")],
    ["name-nul", field(3, "cat.png\0.exe")],
    ["name-c1", field(3, "cat\u0085.png")],
    ["chain-27", field(4, chain.subarray(0, 27))],
    ["chain-29", field(4, chain, 0)],
    ["heads-none", field(5)],
    ["heads-29", field(5, head, 0)],
    ["heads-5", field(5, head, head, head, head, head)],
    ["statement-19", field(6, statement.subarray(0, 19))],
    ["statement-21", field(6, statement, 0)],
    ["hops-none", field(7)],
    ["hops-9", field(7, 9)],
    ["hops-two-bytes", field(7, 0, 1)],
    ["void-none", field(8)],
    ["void-5", field(8, 0, 0, 0, 1, 0)],
    ["void-17", field(8, new Uint8Array(4 * 17))],
    ["high-tag-and-a-bad-field", field(7, 9), field(128)],
    ["bad-after-a-high-tag", field(200), text],
  ];
}

function badVector(name: string, payload: Uint8Array): Vector {
  const content = decodeEnvelope(payload);
  if (!isDropped(content)) throw new TypeError(`the test vector ${name} is not dropped`);
  return { name, payload: toHex(payload), drop: content.drop, reason: content.fault };
}

function badVectors(room: VectorRoom): Vector[] {
  const magic = Uint8Array.from(envelopeMagic);
  const withHeader = (parts: readonly Uint8Array[]) => {
    const header = joinBytes(parts);
    return joinBytes([magic, u16(header.length), header, hello]);
  };
  return [
    ...cutPayloads.map(([name, rest]) => badVector(name, joinBytes([magic, rest]))),
    ...badHeaders(room).map(([name, ...parts]) => badVector(name, withHeader(parts))),
  ];
}

async function frameVector(
  room: VectorRoom,
  at: number,
  chain: ChainEntry,
  text: string,
): Promise<Vector & { as_head: string }> {
  const { roomId, subject, roomKeys, owner } = room;
  const { id, reacted, tag } = links(room);
  const header: EnvelopeHeader = {
    kind: "text",
    chain,
    heads: [{ id: id(0x11), n: 7, hash: reacted }],
    statement: tag,
  };
  const payload = encodeEnvelope(header, bytesOf(text));
  const nonce = run(0x40 + 0x18 * at, 24);
  const policy = { encrypt: true, persist: true, sign_msgs: true };
  const sendingRoom = { roomId, subject, policy, epoch: 1, roomKey: roomKeys[0] };
  const wire = await sealFrameUnder(nonce, { id: frameIds[at] ?? "", payload }, sendingRoom, owner);
  const frame = decodeFrame(wire);
  if (isDropped(frame)) throw new TypeError(`a test vector's frame is dropped: ${frame.drop}`);
  return {
    sign_seed: toHex(owner.signPriv.slice(0, 32)),
    sign_pub: owner.signPubHex,
    room_id: roomId,
    room_key: toHex(roomKeys[0]),
    nonce: toHex(nonce),
    fields: fieldsOf(valid("frame", decodeEnvelope(payload)).header),
    body: toHex(bytesOf(text)),
    plaintext: toHex(payload),
    aad: frameAad(roomId, frame),
    ciphertext: toHex(fromBase64(frame.p ?? "") ?? none),
    signing_text: frameSigningText(roomId, frame),
    sig: frame.sig ?? "",
    wire: new TextDecoder().decode(wire),
    wire_hash: sha256Hex(wire),
    next_prev: halfHash(wire),
    as_head: halfHash(wire),
  };
}

/** Two frames of one chain. */
async function frameVectors(room: VectorRoom): Promise<Vector[]> {
  const { own } = links(room);
  const first = await frameVector(room, 0, own, "first of the chain");
  const second = await frameVector(room, 1, { id: own.id, n: 1, hash: first.as_head }, "and the second");
  return [first, second];
}

/** Computes the groups `envelope`, `envelope_extra`, `envelope_bad` and `frame_with_envelope`. */
export async function envelopeVectors(room: VectorRoom): Promise<Vectors> {
  const examples = [...kindExamples(room), ...limitExamples(room)];
  return {
    envelope: [
      ...bare.map(([name, payload]) => envelopeVector(name, payload, frameTypes.PUB)),
      ...examples.map(([name, header, body]) => envelopeVector(name, encodeEnvelope(header, body), frameTypes.PUB)),
    ],
    envelope_extra: await ownEnvelopes(room),
    envelope_bad: badVectors(room),
    frame_with_envelope: await frameVectors(room),
  };
}
