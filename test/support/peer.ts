/**
 * A peer built from raw parts: signed HTTP, statements and a stock NATS client, without the SDK. Builds request bodies
 * that the SDK would refuse to build, so tests can send invalid ones. Helpers named `...Body` only build a request and
 * return the room as it would be afterwards; `createRoom`, `addMembers`, `kick` and the like also send it and throw
 * unless it succeeds. Nearly all tests of the server use this file.
 */
import { createHash, createPrivateKey, randomBytes, sign } from "node:crypto";
import { join } from "node:path";
import { type ConnectionOptions, connect, type NatsConnection, type nkeyAuthenticator } from "nats";
import { ulid } from "ulid";
import { generateIdentity, type Identity } from "../../src/client/crypto/identity.ts";
import { newRoomKey } from "../../src/client/crypto/keys.ts";
import { natsText, requestText, signatureHeaders } from "../../src/wire/sign.ts";
import {
  keyCheck,
  type MemberLine,
  nextState,
  type Policy,
  type RoomState,
  type StateChange,
  statementText,
  zeroHash,
} from "../../src/wire/statement.ts";
import { type Server, textIn, unibus, until } from "./executable.ts";
import { hostToSign } from "./host-to-sign.ts";
import { sealNow, signNow } from "./keys-now.ts";

/** A reply with its whole body. */
export interface Reply {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** The body as JSON, or null. */
  readonly json: Record<string, unknown>;
}

/** Returns the headers of a signed request. `skewS` and the other options make requests wrong on purpose. */
export function signedHeaders(
  identity: Identity,
  request: {
    readonly url: string;
    readonly method: string;
    readonly target: string;
    readonly body?: string | Uint8Array;
    readonly host?: string;
    readonly skewS?: number;
    readonly nonce?: string;
  },
): Record<string, string> {
  const host = request.host ?? hostToSign(request.url);
  const ts = String(Math.floor(Date.now() / 1000) + (request.skewS ?? 0));
  const nonce = request.nonce ?? randomBytes(16).toString("base64");
  const bodyHash = createHash("sha256")
    .update(request.body ?? "")
    .digest("hex");
  const text = requestText({ host, method: request.method, target: request.target, ts, nonce, bodyHash });
  return {
    [signatureHeaders.host]: host,
    [signatureHeaders.pub]: identity.signPubHex,
    [signatureHeaders.ts]: ts,
    [signatureHeaders.nonce]: nonce,
    [signatureHeaders.body]: bodyHash,
    [signatureHeaders.sig]: Buffer.from(signNow(identity, text)).toString("base64"),
  };
}

async function replyOf(response: Response): Promise<Reply> {
  const text = await response.text();
  let json: Record<string, unknown> = {};
  try {
    json = JSON.parse(text) as Record<string, unknown>;
  } catch {
    // Not every reply has a JSON body.
  }
  return { status: response.status, headers: response.headers, text, json };
}

/** Sends a request unchanged. */
export async function send(url: string, init: RequestInit = {}): Promise<Reply> {
  return replyOf(await fetch(url, init));
}

/** Sends a signed request; `identity` null sends it unsigned. */
export async function call(
  base: string,
  identity: Identity | null,
  method: string,
  target: string,
  body?: unknown,
): Promise<Reply> {
  const text = body === undefined ? undefined : JSON.stringify(body);
  const headers =
    identity === null
      ? {}
      : signedHeaders(identity, { url: base, method, target, ...(text === undefined ? {} : { body: text }) });
  return send(`${base}${target}`, { method, headers, ...(text === undefined ? {} : { body: text }) });
}

/** A room as its owner's client has it. */
export interface OwnRoom {
  readonly owner: Identity;
  readonly state: RoomState;
  readonly key: Uint8Array | null;
}

const lineOf = (identity: Identity, role: MemberLine["role"]): MemberLine => ({
  endpoint: identity.endpoint,
  sign_pub: identity.signPubHex,
  kex_pub: identity.kexPubHex,
  role,
  since: 1,
  until: 0,
});

/** Returns a policy with the named flags on. */
export function policy(...on: readonly (keyof Policy)[]): Policy {
  return { encrypt: on.includes("encrypt"), persist: on.includes("persist"), sign_msgs: on.includes("sign_msgs") };
}

/** Builds the first version of a room without posting it. */
export function newRoom(owner: Identity, subject: string, rules: Policy, roomId: string = ulid()): OwnRoom {
  const key = rules.encrypt ? newRoomKey() : null;
  const state: RoomState = {
    ...{ roomId, version: 1, prev: zeroHash, subject, policy: rules, epoch: 1 },
    keyCheck: key === null ? zeroHash : keyCheck(roomId, 1, key),
    lines: [lineOf(owner, "owner")],
  };
  return { owner, state, key };
}

/** Builds a statement of a room's state, signed by an owner. */
export function statementOf(state: RoomState, by: Identity): { text: string; by: string; sig: string } {
  const text = statementText(state);
  return { text, by: by.signPubHex, sig: Buffer.from(signNow(by, text)).toString("base64") };
}

const sealed = (room: OwnRoom, to: Identity): { sealed_key?: string } =>
  room.key === null ? {} : { sealed_key: sealNow(room.key, to.kexPub) };

/** Returns the body that creates a room. */
export function createBody(room: OwnRoom): Record<string, unknown> {
  return { statement: statementOf(room.state, room.owner), ...sealed(room, room.owner) };
}

/** Returns the body that adds members, and the room afterwards. */
export function addBody(room: OwnRoom, ...members: readonly Identity[]): { body: unknown; room: OwnRoom } {
  const change: StateChange = { kind: "add", members: members.map((member) => lineOf(member, "member")) };
  const state = nextState(room.state, change);
  const list = members.map((member) => ({ endpoint: member.endpoint, ...sealed(room, member) }));
  return { body: { members: list, statement: statementOf(state, room.owner) }, room: { ...room, state } };
}

let subjects = 0;

/** Returns a subject that is unique in this run. */
export function freshSubject(namespace = "room"): string {
  subjects += 1;
  return `${namespace}.t${process.pid}-${subjects}-${randomBytes(3).toString("hex")}`;
}

/** Creates a room. Throws unless the answer is 201. */
export async function createRoom(server: Server, owner: Identity, rules: Policy, subject?: string): Promise<OwnRoom> {
  const room = newRoom(owner, subject ?? freshSubject(), rules);
  const reply = await call(server.ready.http, owner, "POST", "/rooms", createBody(room));
  if (reply.status !== 201) throw new Error(`POST /rooms: ${reply.status} ${reply.text}`);
  return room;
}

/**
 * Adds members to a room without accepting it for them. Throws unless the answer is 201. Returns the room afterwards.
 */
export async function inviteMembers(server: Server, room: OwnRoom, ...members: readonly Identity[]): Promise<OwnRoom> {
  const { body, room: next } = addBody(room, ...members);
  const target = `/rooms/${room.state.roomId}/members`;
  const reply = await call(server.ready.http, room.owner, "POST", target, body);
  if (reply.status !== 201) throw new Error(`POST ${target}: ${reply.status} ${reply.text}`);
  return next;
}

/** Accepts a room as each of some members. Throws unless the answer is 204. */
export async function acceptRoom(server: Server, room: OwnRoom, ...members: readonly Identity[]): Promise<void> {
  const target = `/rooms/${room.state.roomId}/accept`;
  for (const member of members) {
    const reply = await call(server.ready.http, member, "PUT", target);
    if (reply.status !== 204) throw new Error(`PUT ${target}: ${reply.status} ${reply.text}`);
  }
}

/** Adds members to a room and accepts it as each of them. Throws unless both succeed. Returns the room afterwards. */
export async function addMembers(server: Server, room: OwnRoom, ...members: readonly Identity[]): Promise<OwnRoom> {
  const next = await inviteMembers(server, room, ...members);
  await acceptRoom(server, next, ...members);
  return next;
}

/** Joins the first admin with the link that a new bus stores. Returns whether there was such a link. */
async function joinFirstAdmin(server: Server, identity: Identity, handle: string): Promise<boolean> {
  const link = textIn(join(server.data, "admin-link"));
  if (link === null) return false;
  const { signPubHex: sign_pub, kexPubHex: kex_pub, kexSig: kex_sig } = identity;
  const body = JSON.stringify({ token: new URL(link.trim()).hash.slice(1), sign_pub, kex_pub, kex_sig });
  const { status, json } = await send(`${server.ready.http}/register`, { method: "POST", body });
  if (status !== 201) return false;
  if (json.handle === handle) return true;
  const renamed = await call(server.ready.http, identity, "PUT", `/users/${sign_pub}`, { handle });
  if (renamed.status >= 300) throw new Error(`PUT /users: ${renamed.status} ${renamed.text}`);
  return true;
}

/**
 * Creates a user and waits until the running server knows the user. The first admin joins by the link that a new bus
 * stores, which starts no process; others are added by the command on the host.
 */
export async function addUser(server: Server, handle: string, options: { admin?: boolean } = {}): Promise<Identity> {
  const identity = await generateIdentity();
  if (options.admin && (await joinFirstAdmin(server, identity, handle))) return identity;
  const keys = ["--sign-pub", identity.signPubHex, "--kex-pub", identity.kexPubHex, "--kex-sig", identity.kexSig];
  const args = ["user", "add", handle, ...keys, "--data", server.data, ...(options.admin ? ["--admin"] : [])];
  const done = await unibus(server.folder, args);
  if (done.code !== 0) throw new Error(`user add: ${done.stderr}`);
  await until("the server knows the user", async () => {
    return (await call(server.ready.http, identity, "GET", "/directory")).status === 200;
  });
  return identity;
}

/** The public keys of a user, each in the encoding of the API. */
export type PublicKeys = Pick<Identity, "signPubHex" | "kexPubHex" | "kexSig">;

/** Creates a user over HTTP, as an admin does. */
export async function postUser(server: Server, admin: Identity, handle: string): Promise<Identity> {
  const user = await generateIdentity();
  await postKeys(server, admin, handle, user);
  return user;
}

/** Creates the user of some public keys over HTTP, as an admin does. */
export async function postKeys(server: Server, admin: Identity, handle: string, keys: PublicKeys): Promise<void> {
  const { signPubHex, kexPubHex, kexSig } = keys;
  const body = { sign_pub: signPubHex, handle, role: "member", kex_pub: kexPubHex, kex_sig: kexSig };
  const reply = await call(server.ready.http, admin, "POST", "/users", body);
  if (reply.status !== 201) throw new Error(`POST /users: ${reply.status} ${reply.text}`);
}

/** Opens a NATS connection of a peer. It signs the text of kind `nats` or, as stock tools do, only the nonce. */
export async function dial(
  server: Server,
  identity: Identity,
  options: { readonly stock?: boolean; readonly url?: string } & Partial<ConnectionOptions> = {},
): Promise<NatsConnection> {
  const { stock, url, ...rest } = options;
  const target = url ?? server.ready.nats;
  const seedless = (nonce?: string) => {
    const text = stock ? (nonce ?? "") : natsText(hostToSign(target), nonce ?? "");
    return { nkey: identity.nkey, sig: Buffer.from(rawSign(identity, text)).toString("base64url") };
  };
  return connect({
    servers: target.replace(/^nats:/, ""),
    authenticator: seedless as ReturnType<typeof nkeyAuthenticator>,
    inboxPrefix: `_INBOX.${identity.endpoint}.a`,
    reconnect: false,
    ...rest,
  });
}

/** Signs any text, as a stock NATS tool with the key would: the identity itself signs only texts of our kinds. */
export function rawSign(identity: Identity, text: string): Uint8Array {
  const seed = identity.signPriv.subarray(0, 32);
  const pkcs8 = Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), seed]);
  return sign(null, Buffer.from(text), createPrivateKey({ key: pkcs8, format: "der", type: "pkcs8" }));
}

/** Returns the frames of a room's history, as they were published. */
export async function history(server: Server, member: Identity, room: OwnRoom, query = ""): Promise<Buffer[]> {
  const reply = await call(server.ready.http, member, "GET", `/rooms/${room.state.roomId}/history${query}`);
  if (reply.status !== 200) throw new Error(`GET history: ${reply.status} ${reply.text}`);
  return (reply.json.messages as string[]).map((message) => Buffer.from(message, "base64"));
}

/** Returns the body that kicks members, or only rekeys if none is given, and the room afterwards. */
export function kickBody(
  room: OwnRoom,
  gone: readonly Identity[],
  staying: readonly Identity[],
): { body: Record<string, unknown>; room: OwnRoom } {
  const key = room.key === null ? null : newRoomKey();
  const epoch = room.state.epoch + 1;
  const check = key === null ? zeroHash : keyCheck(room.state.roomId, epoch, key);
  const away = new Set(gone.map(({ endpoint }) => endpoint));
  const state = nextState(room.state, { kind: "rotate", gone: away, keyCheck: check });
  const next = { ...room, state, key };
  const keys = staying.map((member) => ({ endpoint: member.endpoint, ...sealed(next, member) }));
  return { body: { statement: statementOf(state, room.owner), ...(key === null ? {} : { keys }) }, room: next };
}

/** Returns the path of a room, or of a part of it. */
export function at(room: OwnRoom, part = ""): string {
  return `/rooms/${room.state.roomId}${part}`;
}

/** Returns the body that promotes or demotes an owner, and the room afterwards. */
export function roleBody(
  room: OwnRoom,
  member: Identity,
  role: MemberLine["role"],
): { body: Record<string, unknown>; room: OwnRoom } {
  const state = nextState(room.state, { kind: "role", endpoint: member.endpoint, role });
  return { body: { role, statement: statementOf(state, room.owner) }, room: { ...room, state } };
}

/** Promotes or demotes an owner. Throws unless the answer is 200. Returns the room afterwards. */
export async function setRole(
  server: Server,
  room: OwnRoom,
  member: Identity,
  role: MemberLine["role"],
): Promise<OwnRoom> {
  const { body, room: next } = roleBody(room, member, role);
  const reply = await call(server.ready.http, room.owner, "PUT", at(room, `/members/${member.endpoint}/role`), body);
  if (reply.status !== 200) throw new Error(`PUT role: ${reply.status} ${reply.text}`);
  return next;
}

/** Kicks a member. Throws unless the answer is 204. Returns the room afterwards. */
export async function kick(server: Server, room: OwnRoom, member: Identity, ...staying: Identity[]): Promise<OwnRoom> {
  const { body, room: next } = kickBody(room, [member], staying);
  const reply = await call(server.ready.http, room.owner, "DELETE", at(room, `/members/${member.endpoint}`), body);
  if (reply.status !== 204) throw new Error(`DELETE member: ${reply.status} ${reply.text}`);
  return next;
}

/** Leaves a room. */
export function leave(server: Server, room: OwnRoom, member: Identity): Promise<Reply> {
  return call(server.ready.http, member, "DELETE", at(room, `/members/${member.endpoint}`));
}

/** Collects the permission errors that a connection gets. */
export function refusalsOf(connection: NatsConnection): string[] {
  const refusals: string[] = [];
  void (async () => {
    for await (const { type, data } of connection.status()) if (type === "error") refusals.push(String(data));
  })();
  return refusals;
}

/** Collects the notices that a peer's connection gets from now on, as `kind room_id`. */
export async function noticesOf(connection: NatsConnection, identity: Identity): Promise<string[]> {
  const notices: string[] = [];
  connection.subscribe(`unibus.user.${identity.endpoint}.*`, {
    callback: (_, message) => {
      const { room_id } = message.json<{ room_id?: string }>();
      notices.push([message.subject.split(".")[3], ...(room_id === undefined ? [] : [room_id])].join(" "));
    },
  });
  await connection.flush();
  return notices;
}
