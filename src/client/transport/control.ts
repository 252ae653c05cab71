/**
 * The client of the control plane, with one method for each request of the HTTP API. It signs requests, fails over
 * between addresses, retries GETs, and checks the schema and size of each reply. Used by almost all of the client;
 * `http.ts` makes one exchange, `http-reply.ts` reads one reply.
 */
import type { Static } from "@sinclair/typebox";
import * as api from "../../wire/api.ts";
import { bytesOf } from "../../wire/encoding.ts";
import { hasCode, isUnibusError, UnibusError } from "../../wire/errors.ts";
import { isBytes, type RouteSpec, type StaticOf } from "../../wire/route.ts";
import { routes } from "../../wire/routes.ts";
import type { Identity } from "../crypto/identity.ts";
import { BusClock, type OwnClock } from "./clock.ts";
import type { DirectoryQuery, HistoryRequest } from "./control-queries.ts";
import { type AnyParts, type RequestParts, targetOf } from "./control-target.ts";
import { Detour } from "./detour.ts";
import { unreached } from "./fetch-fault.ts";
import { type Ask, busUrl, dataUrlsOf, exchange, isCleartext, publicUrlOf } from "./http.ts";
import { contentOf, isPassing } from "./http-reply.ts";
import { pause } from "./wait.ts";

/** Maximum number of addresses of one bus. */
const urlsMax = 16;
/** Retries of a GET that the server cannot answer now: attempts, default pause, longest accepted pause, in seconds. */
const patience = { attempts: 4, pauseS: 0.5, pauseSMax: 10 } as const;
/** Timeouts of one request and its reply, in milliseconds. */
const timeoutMs = { info: 5_000, json: 30_000, blob: 300_000, restore: 300_000 } as const;
/** The largest replies that are read, in bytes. Lists grow with the bus; their limit only protects memory. */
const replyBytesMax = {
  single: 1_048_576,
  /** 1,000 users with their keys and handles of the maximum length. */
  page: 2 * 1_048_576,
  list: 64 * 1_048_576,
  statements: api.statementsMax * 20_000,
  history: Math.ceil(api.historyBytesMax / 3) * 4 + 1_048_576,
  blob: api.blobBytesMax,
} as const;

type BytesMax = keyof typeof replyBytesMax;

const infoRequest = { method: routes.bus.info.method, target: routes.bus.info.path };

/** The options of a `ControlPlane`. */
export interface ControlOptions {
  /** The addresses of one bus, the preferred one first. */
  readonly urls: readonly string[];
  readonly identity: Identity;
  /** HOST:PORT to dial instead of the one address. */
  readonly dial?: string | undefined;
  /** Called with warnings that the user should see, such as an address without encryption. */
  readonly onWarning?: (message: string) => void;
  /** Follows the server's clock however large the offset is. Default: false. */
  readonly busClock?: boolean | undefined;
  /** This computer's clocks; tests replace them. */
  readonly ownClock?: OwnClock | undefined;
}

/** Limits of one request. */
export interface RequestLimits {
  readonly signal?: AbortSignal | undefined;
  /** The largest reply that is read, by its kind or in bytes. Default: single. */
  readonly size?: BytesMax | number;
  /** The sha256 of the body in hex, if it is known. */
  readonly bodyHash?: string;
  /** Timeout of the whole exchange, in milliseconds. */
  readonly withinMs?: number;
}

/**
 * The HTTP API of one bus for one peer: signs every request, and fails over to the next address.
 *
 * A request whose answer was lost is signed and sent again: to the next address or, if there is only one, once more to
 * the same. So the first copy may have taken effect. That is safe: a statement fits only one version, and the second
 * copy of a change fails with `conflict`, `gone` or `forbidden`. A caller that gets one of these reads the room again
 * and looks for its own statement, as `RoomChanges` does.
 *
 * Requests are signed with the server's time, within the bounds of `BusClock`: a server that could shift that time at
 * will could keep a signature and replay it later. A request refused for its time is sent once more if the clock can be
 * set again.
 * Errors: what the server answers; unavailable if no address answers, or a reply does not match the API; the signal's
 * reason if the caller aborts.
 */
export class ControlPlane {
  readonly urls: readonly string[];
  readonly identity: Identity;
  /** The server's clock, set by the first `info`. */
  readonly clock: BusClock;
  /** Set if the bus is dialled at another address than its URL. */
  readonly detour: Detour | undefined;
  /** The index of the address that answered last. */
  #at = 0;
  /** The address that links to this bus begin with. */
  linkUrl: string;
  /** Called when an address answered successfully. */
  onAnswer: () => void = () => undefined;

  constructor({ urls, identity, dial, onWarning, busClock, ownClock }: ControlOptions) {
    this.urls = [...new Set(urls.map(busUrl))];
    this.identity = identity;
    this.clock = new BusClock({ own: ownClock, follows: busClock, onWarning });
    if (this.urls.length === 0 || this.urls.length > urlsMax) {
      throw new UnibusError("invalid", `${this.urls.length} server addresses given (give 1 to ${urlsMax})`);
    }
    if (dial !== undefined && this.urls.length > 1) {
      throw new UnibusError("invalid", `dial ${JSON.stringify(dial)} needs one address, not ${this.urls.length}`);
    }
    this.linkUrl = this.urls[0] ?? "";
    this.detour = dial === undefined ? undefined : new Detour(this.urls[0] ?? "", dial);
    for (const url of this.detour?.isLocal === true ? [] : this.urls.filter(isCleartext)) {
      onWarning?.(`the connection to ${url} is not encrypted: others can see who talks to whom (use https)`);
    }
  }

  /**
   * Sends a request to a route, signed unless the route is public, and returns its reply, checked against its schema.
   * Errors: invalid for a path parameter of the wrong format, besides those of the class.
   */
  async send<S extends RouteSpec>(
    spec: S,
    parts: RequestParts<S>,
    { signal, size = "single", bodyHash, withinMs = timeoutMs.json }: RequestLimits = {},
  ): Promise<StaticOf<S["reply"]>> {
    const { method, access, reply }: RouteSpec = spec;
    const given: AnyParts = parts;
    const isRaw = isBytes(spec.body);
    const body = isRaw || given.body === undefined ? given.body : bytesOf(JSON.stringify(given.body));
    const found = await this.#ask({
      method,
      target: targetOf(spec, given),
      body: body as Uint8Array | undefined,
      bodyHash,
      contentType: isRaw ? "application/octet-stream" : "application/json",
      signer: access === "public" ? undefined : this.identity,
      signal,
      bytesMax: typeof size === "number" ? size : replyBytesMax[size],
      timeoutMs: withinMs,
    });
    const content = reply === undefined || isBytes(reply) ? found.body : contentOf(reply, found.body, found.url);
    return (reply === undefined ? undefined : content) as StaticOf<S["reply"]>;
  }

  /** Sends a request. Repeats a GET that the server asks to retry. */
  async #ask(ask: Ask): Promise<{ readonly body: Uint8Array<ArrayBuffer>; readonly url: string }> {
    let isLearned = false;
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#askAll({ ...ask, nowMs: this.clock.now });
      } catch (error) {
        if (hasCode(error, "clock_skew") && ask.signer !== undefined && !isLearned) {
          isLearned = true;
          if (await this.#learnTime(ask.signal)) continue;
        }
        const pauseS = pauseOf(error);
        const isOver = attempt === patience.attempts || ask.method !== "GET";
        if (isOver || pauseS === undefined || pauseS > patience.pauseSMax) throw error;
        // A random extra delay spreads clients that were refused together.
        await pause(1_000 * (pauseS + Math.random() * Math.max(1, pauseS)), ask.signal);
      }
    }
  }

  /** Sends a request to one address after another until one answers. */
  async #askAll(ask: Ask): Promise<{ readonly body: Uint8Array<ArrayBuffer>; readonly url: string }> {
    const isAlone = this.urls.length === 1;
    // The server may close an idle connection while a request is on its way, so a single address gets a second try.
    const tries = isAlone ? [0, 0] : this.urls.map((_, i) => (this.#at + i) % this.urls.length);
    let isCopied = false;
    let cause: unknown;
    for (let at = tries.shift(); at !== undefined; at = tries.shift()) {
      ask.signal?.throwIfAborted();
      const url = this.urls[at] ?? "";
      try {
        const body = await exchange(url, { ...ask, detour: this.detour });
        this.#at = at;
        this.onAnswer();
        return { body, url };
      } catch (error) {
        if (hasCode(error, "unauthenticated") && !isCopied) {
          // Bun and browsers resend a request by themselves when its connection breaks. The copy's nonce is already
          // used.
          isCopied = true;
          tries.unshift(at);
          continue;
        }
        if (isUnibusError(error)) throw error;
        ask.signal?.throwIfAborted();
        cause = error;
        if (isAlone && (error as { name?: unknown })?.name === "TimeoutError") break;
      }
    }
    throw unreached(this.urls.join(", "), cause);
  }

  /**
   * Reads what a client needs to know about the bus beyond an address. From an https address, only tls and wss URLs of
   * the data plane are kept. The reply's time sets the clock.
   * Errors: clock_skew if the clocks differ too much. Source: docs/protocol/frames.md, docs/protocol/logins.md.
   */
  async info(signal?: AbortSignal): Promise<api.Info> {
    const { info, url, sentMs } = await this.#readInfo(signal);
    this.#learn(info, url, sentMs);
    return info;
  }

  /** Reads the server's time again. Returns whether that set the clock. Errors: clock_skew. */
  async #learnTime(signal: AbortSignal | undefined): Promise<boolean> {
    const read = await this.#readInfo(signal).catch(() => null);
    signal?.throwIfAborted();
    return read !== null && this.#learn(read.info, read.url, read.sentMs);
  }

  async #readInfo(signal: AbortSignal | undefined) {
    const limits = { bytesMax: replyBytesMax.single, timeoutMs: timeoutMs.json };
    const sentMs = this.clock.steadyMs();
    const { body, url } = await this.#ask({ ...infoRequest, signal, ...limits });
    return { info: await this.#infoOf(body, url), url, sentMs };
  }

  /** Compares the time of a reply with the clock, or sets the clock. Errors: clock_skew. */
  #learn({ time }: api.Info, url: string, sentMs: number): boolean {
    const [timeMs, receivedMs] = [Date.parse(time), this.clock.steadyMs()];
    const isOpen = isCleartext(url) && this.detour?.isLocal !== true;
    return this.clock.learn({ url, isCleartext: isOpen, timeMs, sentMs, receivedMs });
  }

  /** The `/info` of each address that answers, the preferred ones first. Errors: unavailable if none answers. */
  async infos(signal?: AbortSignal): Promise<api.Info[]> {
    const limits = { bytesMax: replyBytesMax.single, timeoutMs: timeoutMs.info };
    const ask = async (url: string) => {
      const sentMs = this.clock.steadyMs();
      const request = { ...infoRequest, signal, detour: this.detour, ...limits };
      const info = await this.#infoOf(await exchange(url, request), url);
      this.#learn(info, url, sentMs);
      return info;
    };
    const infos = await Promise.all(this.urls.map((url) => ask(url).catch(() => [])));
    if (infos.flat().length === 0) throw unreached(this.urls.join(", "), "no address answered");
    return infos.flat();
  }

  /** Parses a reply to GET /info, with only the data-plane URLs that may be dialled: see `dataUrlsOf`. */
  async #infoOf(body: Uint8Array<ArrayBuffer>, url: string): Promise<api.Info> {
    const info = contentOf(api.Info, body, url);
    const isSafe = url.startsWith("http:") || this.detour?.isLocal === true;
    this.linkUrl = publicUrlOf(info.public_url, isSafe) ?? this.linkUrl;
    const led = async (urls: string[]) => (await this.detour?.dataUrls(urls)) ?? urls;
    return { ...info, nats: await led(dataUrlsOf(info.nats, isSafe)), ws: await led(dataUrlsOf(info.ws, isSafe)) };
  }

  /** A page of this peer's rooms, ordered by room id: those after a room id, only accepted or only unaccepted ones. */
  async rooms(
    page: { readonly after?: string; readonly accepted?: boolean } = {},
    signal?: AbortSignal,
  ): Promise<Static<typeof api.RoomList>> {
    const { endpoint } = this.identity;
    return this.send(routes.rooms.listOwn, { params: { endpoint }, query: page }, { signal, size: "list" });
  }

  /** Errors: forbidden, not_found, gone. The same holds for every request that names a room. */
  async room(id: string, signal?: AbortSignal): Promise<Static<typeof api.RoomView>> {
    return this.send(routes.rooms.get, { params: { id } }, { signal });
  }

  /** Accepts this peer's membership. Idempotent. */
  async acceptRoom(id: string, signal?: AbortSignal): Promise<void> {
    return this.send(routes.rooms.accept, { params: { id } }, { signal });
  }

  /** Errors: conflict if the subject or id is taken. */
  async createRoom(body: Static<typeof api.CreateRoom>, signal?: AbortSignal): Promise<Static<typeof api.Room>> {
    return this.send(routes.rooms.create, { body }, { signal });
  }

  async deleteRoom(id: string, signal?: AbortSignal): Promise<void> {
    return this.send(routes.rooms.delete, { params: { id } }, { signal });
  }

  /** Every membership period of every member. */
  async members(id: string, signal?: AbortSignal): Promise<Static<typeof api.MemberList>> {
    return this.send(routes.rooms.members, { params: { id } }, { signal, size: "list" });
  }

  /** The statements from a version on, as many as fit in one reply. */
  async statements(id: string, from: number, signal?: AbortSignal): Promise<Static<typeof api.StatementList>> {
    return this.send(routes.rooms.statements, { params: { id }, query: { from } }, { signal, size: "statements" });
  }

  /** Returns the room's new version. Errors: conflict if another change came first. */
  async addMembers(id: string, body: Static<typeof api.AddMembers>, signal?: AbortSignal): Promise<number> {
    return (await this.send(routes.rooms.addMembers, { params: { id }, body }, { signal })).version;
  }

  /** Errors: conflict if another change came first. */
  async kick(id: string, endpoint: string, body: Static<typeof api.Rotate>, signal?: AbortSignal): Promise<void> {
    return this.send(routes.rooms.removeMember, { params: { id, endpoint }, body }, { signal });
  }

  /** Errors: conflict for the last owner. */
  async leave(id: string, signal?: AbortSignal): Promise<void> {
    return this.send(routes.rooms.removeMember, { params: { id, endpoint: this.identity.endpoint } }, { signal });
  }

  /** Returns the room's new version. Errors: conflict if another change came first. */
  async rekey(id: string, body: Static<typeof api.Rotate>, signal?: AbortSignal): Promise<number> {
    return (await this.send(routes.rooms.rekey, { params: { id }, body }, { signal })).version;
  }

  /** Returns the room's new version. Errors: conflict if another change came first, or for the last owner. */
  async setRole(id: string, endpoint: string, body: Static<typeof api.SetRole>, signal?: AbortSignal): Promise<number> {
    return (await this.send(routes.rooms.setRole, { params: { id, endpoint }, body }, { signal })).version;
  }

  /**
   * Gives a server that was restored from an older backup the versions of a room that it lost. Returns the room's
   * version.
   * Errors: forbidden, gone, conflict, contested, quota; invalid, whose details may say what the server has.
   */
  async restoreRoom(id: string, body: api.Restore, signal?: AbortSignal): Promise<number> {
    const limits = { signal, size: "list", withinMs: timeoutMs.restore } as const;
    return (await this.send(routes.rooms.restore, { params: { id }, body }, limits)).version;
  }

  /** Admits a contested chain of a room, as an admin. Errors: forbidden, not_found, gone, conflict. */
  async takeChain(id: string, hash: string, signal?: AbortSignal): Promise<void> {
    return this.send(routes.rooms.takeChain, { params: { id }, body: { hash } }, { signal });
  }

  /** This peer's sealed key of an epoch. Errors: not_found if it was not a member in that epoch. */
  async roomKey(id: string, epoch: number, signal?: AbortSignal): Promise<Static<typeof api.RoomKey>> {
    return this.send(routes.rooms.key, { params: { id }, query: { epoch } }, { signal });
  }

  /**
   * A page of a room's frames, oldest first: the last ones, those before a sequence number, or the first ones after a
   * sequence number or stored since a time (RFC 3339).
   */
  async history(
    id: string,
    { limit, ...start }: HistoryRequest,
    signal?: AbortSignal,
  ): Promise<Static<typeof api.History>> {
    const query = { limit: limit?.toString(), ...start };
    return this.send(routes.history.last, { params: { id }, query }, { signal, size: "history" });
  }

  /**
   * Erases a stored message and returns the hex sha256 of its frame. Errors: not_found if it is gone; forbidden;
   * conflict in a room of an earlier version; rate_limited.
   */
  async eraseMessage(id: string, seq: number, signal?: AbortSignal): Promise<string> {
    return (await this.send(routes.history.erase, { params: { id, seq: String(seq) } }, { signal })).sha256;
  }

  /** Binds the durable of a device. Errors: conflict if the room is not persisted; quota. */
  async bindDurable(id: string, device: string, signal?: AbortSignal): Promise<Static<typeof api.DurableBound>> {
    return this.send(routes.durables.bind, { params: { id }, query: { device } }, { signal });
  }

  async unbindDurable(id: string, device: string, signal?: AbortSignal): Promise<void> {
    return this.send(routes.durables.unbind, { params: { id }, query: { device } }, { signal });
  }

  /** Stores a ciphertext, whose hash is known. Errors: too_large, quota. */
  async putBlob(ciphertext: Uint8Array, bodyHash: string, signal?: AbortSignal): Promise<void> {
    await this.send(routes.blobs.put, { body: ciphertext }, { signal, bodyHash, withinMs: timeoutMs.blob });
  }

  /** The bytes that the server returns for a hash, at most `size`. The caller must check them. Errors: not_found. */
  async getBlob(
    hash: string,
    signal?: AbortSignal,
    size: BytesMax | number = "blob",
  ): Promise<Uint8Array<ArrayBuffer>> {
    const limits = { signal, size, withinMs: timeoutMs.blob };
    return (await this.send(routes.blobs.get, { params: { hash } }, limits)) as Uint8Array<ArrayBuffer>;
  }

  /** Ends this peer's claim to a ciphertext. Errors: not_found if it has none. */
  async releaseBlob(hash: string, signal?: AbortSignal): Promise<void> {
    return this.send(routes.blobs.release, { params: { hash } }, { signal });
  }

  /** A page of active users that match a query. Their keys are not verified: `Directory` does that. */
  async directory(query: DirectoryQuery, signal?: AbortSignal): Promise<Static<typeof api.Directory>> {
    return this.send(routes.users.directory, { query }, { signal, size: "page" });
  }

  /** Publishes this peer's kex key, once. Errors: conflict if another key is set. */
  async putKeys(signal?: AbortSignal): Promise<void> {
    const { kexPubHex: kex_pub, kexSig: kex_sig } = this.identity;
    return this.send(routes.users.putKeys, { body: { kex_pub, kex_sig } }, { signal });
  }
}

/** The delay before a request is sent again, in seconds; undefined if a retry is useless. */
function pauseOf(error: unknown): number | undefined {
  if (hasCode(error, "rate_limited")) return error.retryAfterS;
  if (!hasCode(error, "unavailable")) return undefined;
  return error.retryAfterS ?? (isPassing(error) ? patience.pauseS : undefined);
}
