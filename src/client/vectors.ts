/**
 * Test vectors for other implementations: inputs and expected outputs of every format and signature in the protocol.
 *
 * The production code computes them from fixed keys, ids and nonces, so they are deterministic. The command `vectors`
 * prints them, and the tests compare them with `test/golden/vectors.json`, which a program outside this repository
 * computed. Source: docs/protocol/README.md.
 */
import { x25519 } from "@noble/curves/ed25519.js";
import { mnemonicToSeed } from "@scure/bip39";
import { bytesOf, fromBase64, sha256Hex, toBase64, toBase64Url, toHex } from "../wire/encoding.ts";
import {
  fingerprintWords,
  roomFingerprint,
  roomFingerprintText,
  roomLink,
  userFingerprint,
  userFingerprintText,
} from "../wire/fingerprint.ts";
import {
  blobAad,
  blobRefText,
  decodeFrame,
  type Frame,
  frameAad,
  frameSigningText,
  frameTypes,
  isDropped,
} from "../wire/frame.ts";
import { keysText, natsText, requestText } from "../wire/sign.ts";
import {
  keyCheck,
  type MemberLine,
  memberLinesText,
  nextState,
  ownersOf,
  type Policy,
  policyDigits,
  type RoomState,
  statementText,
  zeroHash,
} from "../wire/statement.ts";
import { type Identity, identityFromSeeds } from "./crypto/identity.ts";
import { sealBox } from "./crypto/sealed-box.ts";
import { type Draft, encrypt, sealBlobUnder, sealFrameUnder } from "./crypto/sealing.ts";
import { identityFromWords } from "./crypto/wallet.ts";
import { envelopeVectors } from "./envelope-vectors.ts";
import { signalVectors } from "./signal-vectors.ts";
import { firstId, run, secondId, type Vector, type Vectors } from "./vector-room.ts";

const signSeed = run(0x00);
const kexPriv = run(0x20);
const roomId = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
const subject = "room.general";
const host = "127.0.0.1";
const roomKeys = [run(0x80), run(0xc0)] as const;
const frameIds = {
  publish: firstId,
  thread: secondId,
  answered: "01BX5ZZKBKACTAV9WEVGEMMVS1",
  reaction: "01BX5ZZKBKACTAV9WEVGEMMVS2",
} as const;
const blobNonce = run(0xa0, 24);
const frameNonce = run(0xb8, 24);
const blobText = bytesOf("hello");
const blobRoom = { roomId, epoch: 1, roomKey: roomKeys[0] };

const signer = (by: Identity): Vector => ({ sign_seed: toHex(by.signPriv.slice(0, 32)), sign_pub: by.signPubHex });

async function keyVectors(by: Identity): Promise<Vectors> {
  const message = "unibus-test-v1\nhello";
  return {
    endpoint_id: { ...signer(by), endpoint_id: by.endpoint },
    nkey: { ...signer(by), nkey: by.nkey },
    sign: { ...signer(by), message, sig: toBase64(await by.sign(message)) },
    keys: {
      ...signer(by),
      kex_priv: toHex(by.kexPriv),
      kex_pub: by.kexPubHex,
      text: keysText(by.signPubHex, by.kexPubHex),
      kex_sig: by.kexSig,
    },
  };
}

async function requestVector(by: Identity, target: string, body: string, nonce: Uint8Array): Promise<Vector> {
  const bodyHash = sha256Hex(body);
  const request = { host: `${host}:8470`, method: "PUT", target, ts: "1700000000", nonce: toBase64(nonce) };
  const text = requestText({ ...request, bodyHash });
  return { ...signer(by), ...request, body, body_hash: bodyHash, text, sig: toBase64(await by.sign(text)) };
}

async function loginVectors(by: Identity): Promise<Vectors> {
  const keys = JSON.stringify({ kex_pub: by.kexPubHex, kex_sig: by.kexSig });
  const nonce = "A".repeat(15);
  const dialled = `${host}:4250`;
  const text = natsText(dialled, nonce);
  return {
    control_request: [
      await requestVector(by, "/users/me/keys", keys, run(0x00, 16)),
      await requestVector(by, `/rooms/${roomId}/durable?device=phone`, "", run(0x10, 16)),
    ],
    nats_connect: { ...signer(by), host: dialled, nonce, nkey: by.nkey, text, sig: toBase64Url(await by.sign(text)) },
  };
}

async function statementVector(by: Identity, state: RoomState): Promise<Vector> {
  const text = statementText(state);
  const lines = memberLinesText(state.lines);
  return {
    ...signer(by),
    room_id: state.roomId,
    version: state.version,
    prev: state.prev,
    subject: state.subject,
    policy: policyDigits(state.policy),
    epoch: state.epoch,
    key_check: state.keyCheck,
    owners: ownersOf(state.lines).join(","),
    member_lines: lines,
    members: sha256Hex(lines),
    text,
    text_hash: sha256Hex(text),
    by: by.signPubHex,
    sig: toBase64(await by.sign(text)),
  };
}

const lineOf = ({ endpoint, signPubHex: sign_pub, kexPubHex: kex_pub }: Identity) => ({ endpoint, sign_pub, kex_pub });

/** The statements of a room whose owner creates it, adds a member, and kicks them. */
async function roomVectors(owner: Identity, other: Identity): Promise<Vectors> {
  const checks = roomKeys.map((key, i) => keyCheck(roomId, i + 1, key)) as [string, string];
  const owning: MemberLine = { ...lineOf(owner), role: "owner", since: 1, until: 0 };
  const policy: Policy = { encrypt: true, persist: true, sign_msgs: true };
  const start = { roomId, version: 1, prev: zeroHash, subject, policy, epoch: 1, keyCheck: checks[0], lines: [owning] };
  const added = nextState(start, { kind: "add", members: [lineOf(other)] });
  const kicked = nextState(added, { kind: "rotate", gone: new Set([other.endpoint]), keyCheck: checks[1] });
  const first = await statementVector(owner, start);
  const later = await Promise.all([added, kicked].map((state) => statementVector(owner, state)));
  return {
    key_check: roomKeys.map((key, i) => {
      return { room_id: roomId, epoch: i + 1, room_key: toHex(key), key_check: checks[i] ?? "" };
    }),
    room_statement: [first, ...later],
    ...fingerprintVectors(owner, first),
  };
}

/** The fingerprints of a user, and of the room in the statements. */
function fingerprintVectors(by: Identity, { text = "", sig = "" }: Vector): Vectors {
  const first = { text: String(text), by: by.signPubHex, sig: String(sig) };
  const [ofRoom, ofUser] = [roomFingerprint(first), userFingerprint(by.signPubHex)];
  const url = "https://bus.example.org";
  return {
    room_fingerprint: {
      ...first,
      room_id: roomId,
      hashed_text: roomFingerprintText(first),
      fingerprint: ofRoom,
      words: fingerprintWords(ofRoom),
      public_url: url,
      link: roomLink({ url, roomId, fingerprint: ofRoom }),
    },
    user_fingerprint: {
      ...signer(by),
      hashed_text: userFingerprintText(by.signPubHex),
      fingerprint: ofUser,
      words: fingerprintWords(ofUser),
    },
  };
}

/** A sealed room key, made like `sealRoomKey` does but with a fixed ephemeral key, and opened again. */
async function keyboxVector(to: Identity): Promise<Vector> {
  const ephemeralPriv = run(0xe0);
  const box = await sealBox(roomKeys[0], to.kexPub, async (kexPub) => ({
    ephemeralPub: x25519.getPublicKey(ephemeralPriv),
    secret: x25519.getSharedSecret(ephemeralPriv, kexPub),
  }));
  const sealed = toBase64(box);
  return {
    kex_priv: toHex(to.kexPriv),
    kex_pub: to.kexPubHex,
    ephemeral_priv: toHex(ephemeralPriv),
    sealed_key: sealed,
    room_key: toHex((await to.openRoomKey(sealed)) ?? new Uint8Array()),
  };
}

async function blobVectors(): Promise<Vectors> {
  const { ciphertext, ref } = await sealBlobUnder(blobNonce, blobText, blobRoom);
  const aad = blobAad(roomId, blobRoom.epoch);
  const nonce = toHex(blobNonce);
  const [plaintext, key] = [toHex(blobText), toHex(blobRoom.roomKey)];
  const sealed = toHex(encrypt(blobText, aad, blobNonce, blobRoom.roomKey));
  return {
    aead: { key, nonce, aad, plaintext, ciphertext: sealed },
    blob: {
      room_id: roomId,
      epoch: blobRoom.epoch,
      room_key: key,
      nonce,
      plaintext,
      aad,
      ciphertext: toHex(ciphertext),
      h: ref.h,
      sz: ref.sz,
      ref: blobRefText(ref),
    },
  };
}

/** Seals a frame and decodes it again. */
async function frameVector(by: Identity, plaintext: string, draft: Draft, roomKey: Uint8Array | null): Promise<Vector> {
  const policy: Policy = { encrypt: roomKey !== null, persist: true, sign_msgs: true };
  const payload = bytesOf(plaintext);
  const room = { roomId, subject, policy, epoch: 1, roomKey };
  const wire = await sealFrameUnder(frameNonce, { ...draft, payload }, room, by);
  const frame = decodeFrame(wire);
  if (isDropped(frame)) throw new TypeError(`a test vector's frame is dropped: ${frame.drop}`);
  return {
    ...signer(by),
    room_id: roomId,
    plaintext,
    ...(roomKey === null ? {} : sealedFields(frame, roomKey)),
    signing_text: frameSigningText(roomId, frame),
    sig: frame.sig ?? "",
    wire: new TextDecoder().decode(wire),
  };
}

function sealedFields(frame: Frame, roomKey: Uint8Array): Vector {
  const hexOf = (text = "") => toHex(fromBase64(text) ?? new Uint8Array());
  const aad = frameAad(roomId, frame);
  return { room_key: toHex(roomKey), nonce: hexOf(frame.n), aad, ciphertext: hexOf(frame.p) };
}

async function frameVectors(by: Identity): Promise<Vectors> {
  const { ref: b } = await sealBlobUnder(blobNonce, blobText, blobRoom);
  const publish = { id: frameIds.publish, b, thr: frameIds.thread, re: frameIds.answered };
  const reaction = { id: frameIds.reaction, t: frameTypes.REACT, re: frameIds.publish };
  const drafts = [frameVector(by, "hello, room", publish, roomKeys[0]), frameVector(by, "👍", reaction, null)];
  return { frame: await Promise.all(drafts) };
}

async function walletVector(): Promise<Vector> {
  const words = `${"abandon ".repeat(11)}about`;
  const made = await identityFromWords(words);
  return {
    ...signer(made),
    words,
    bip39_seed: toHex(await mnemonicToSeed(words)),
    kex_priv: toHex(made.kexPriv),
    kex_pub: made.kexPubHex,
    endpoint_id: made.endpoint,
  };
}

/** A text in the nth vector of a list. */
function textAt(list: Vectors[string] | undefined, at: number, name: string): string {
  return String((list as readonly Vector[])[at]?.[name]);
}

/**
 * Computes the deterministic test vectors for other implementations, with the production code.
 * Source: docs/protocol/README.md.
 */
export async function computeVectors(): Promise<Vectors> {
  const identity = await identityFromSeeds(signSeed, kexPriv);
  const other = await identityFromSeeds(run(0x40), run(0x60));
  const rooms = await roomVectors(identity, other);
  const frames = await frameVectors(identity);
  const statement = textAt(rooms.room_statement, 1, "text");
  const sent = [textAt(frames.frame, 0, "wire"), textAt(frames.frame, 1, "wire")] as const;
  const room = { roomId, subject, roomKeys, owner: identity, other, statement, frames: sent };
  return {
    ...(await keyVectors(identity)),
    ...rooms,
    ...(await blobVectors()),
    keybox: await keyboxVector(identity),
    ...frames,
    ...(await envelopeVectors(room)),
    ...signalVectors(room),
    ...(await loginVectors(identity)),
    wallet: await walletVector(),
  };
}
