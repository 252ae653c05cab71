/**
 * The client of the control plane, with one method for each request of the HTTP API. It signs requests, fails over
 * between addresses, retries GETs, and checks the schema and size of each reply. Used by almost all of the client;
 * `http.ts` makes one exchange, `http-reply.ts` reads one reply.
 */
import type { Static, TSchema } from "@sinclair/typebox";
import * as api from "../../wire/api.ts";
import { bytesOf } from "../../wire/encoding.ts";
import { hasCode, isUnibusError, UnibusError } from "../../wire/errors.ts";
import type { Identity } from "../crypto/identity.ts";
import { BusClock, type OwnClock } from "./clock.ts";
import { at, deviceShape, endpointShape, fit, hashShape } from "./control-target.ts";
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
} as const;

type Method = Ask["method"];
type BytesMax = keyof typeof replyBytesMax;

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

/** Selects users of the directory; all if it is empty. Source: spec 6. */
export interface DirectoryQuery {
  /** Users whose handle looks the same. */
  readonly handle?: string;
  readonly endpoint?: string;
  readonly sign_pub?: string;
  /** The last endpoint of the previous page. */
  readonly after?: string | null;
  readonly limit?: number;
}

/** Body and limits of one request. */
export interface RequestOptions {
  readonly body?: unknown;
  readonly signal?: AbortSignal | undefined;
  readonly size?: BytesMax;
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

  /** Sends a signed request and returns the reply, checked against its schema. */
  async request<S extends TSchema>(
    method: Method,
    target: string,
    reply: S,
    { body, signal, size = "single", withinMs = timeoutMs.json }: RequestOptions = {},
  ): Promise<Static<S>> {
    const bytes = body === undefined ? undefined : bytesOf(JSON.stringify(body));
    const limits = { bytesMax: replyBytesMax[size], timeoutMs: withinMs };
    const found = await this.#ask({ method, target, body: bytes, signer: this.identity, signal, ...limits });
    return contentOf(reply, found.body, found.url);
  }

  /** Sends a signed request whose reply has no content. */
  async #order(method: Method, target: string, { body, signal }: RequestOptions): Promise<void> {
    const bytes = body === undefined ? undefined : bytesOf(JSON.stringify(body));
    const limits = { bytesMax: replyBytesMax.single, timeoutMs: timeoutMs.json };
    await this.#ask({ method, target, body: bytes, signer: this.identity, signal, ...limits });
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
   * Errors: clock_skew if the clocks differ too much. Source: spec 4, 9.
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
    const { body, url } = await this.#ask({ method: "GET", target: "/info", signal, ...limits });
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
      const request = { method: "GET", target: "/info", signal, detour: this.detour, ...limits } as const;
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
    const query = Object.entries(page).map(([name, value]) => `${name}=${value}`);
    const target = `/members/${this.identity.endpoint}/rooms${query.length === 0 ? "" : `?${query.join("&")}`}`;
    return this.request("GET", target, api.RoomList, { signal, size: "list" });
  }

  /** Errors: forbidden, not_found, gone. The same holds for every request that names a room. */
  async room(roomId: string, signal?: AbortSignal): Promise<Static<typeof api.RoomView>> {
    return this.request("GET", at(roomId), api.RoomView, { signal });
  }

  /** Accepts this peer's membership. Idempotent. */
  async acceptRoom(roomId: string, signal?: AbortSignal): Promise<void> {
    return this.#order("PUT", at(roomId, "/accept"), { signal });
  }

  /** Errors: conflict if the subject or id is taken. */
  async createRoom(body: Static<typeof api.CreateRoom>, signal?: AbortSignal): Promise<Static<typeof api.Room>> {
    return this.request("POST", "/rooms", api.Room, { body, signal });
  }

  async deleteRoom(roomId: string, signal?: AbortSignal): Promise<void> {
    return this.#order("DELETE", at(roomId), { signal });
  }

  /** Every membership period of every member. */
  async members(roomId: string, signal?: AbortSignal): Promise<Static<typeof api.MemberList>> {
    return this.request("GET", at(roomId, "/members"), api.MemberList, { signal, size: "list" });
  }

  /** The statements from a version on, as many as fit in one reply. */
  async statements(roomId: string, from: number, signal?: AbortSignal): Promise<Static<typeof api.StatementList>> {
    const target = at(roomId, `/statements?from=${from}`);
    return this.request("GET", target, api.StatementList, { signal, size: "statements" });
  }

  /** Returns the room's new version. Errors: conflict if another change came first. */
  async addMembers(roomId: string, body: Static<typeof api.AddMembers>, signal?: AbortSignal): Promise<number> {
    return (await this.request("POST", at(roomId, "/members"), api.Members, { body, signal })).version;
  }

  /** Errors: conflict if another change came first. */
  async kick(roomId: string, endpoint: string, body: Static<typeof api.Rotate>, signal?: AbortSignal): Promise<void> {
    return this.#order("DELETE", at(roomId, `/members/${fit(endpoint, endpointShape)}`), { body, signal });
  }

  /** Errors: conflict for the last owner. */
  async leave(roomId: string, signal?: AbortSignal): Promise<void> {
    return this.#order("DELETE", at(roomId, `/members/${this.identity.endpoint}`), { signal });
  }

  /** Returns the room's new version. Errors: conflict if another change came first. */
  async rekey(roomId: string, body: Static<typeof api.Rotate>, signal?: AbortSignal): Promise<number> {
    return (await this.request("POST", at(roomId, "/rekey"), api.Members, { body, signal })).version;
  }

  /** Returns the room's new version. Errors: conflict if another change came first, or for the last owner. */
  async setRole(
    roomId: string,
    endpoint: string,
    body: Static<typeof api.SetRole>,
    signal?: AbortSignal,
  ): Promise<number> {
    const target = at(roomId, `/members/${fit(endpoint, endpointShape)}/role`);
    return (await this.request("PUT", target, api.Members, { body, signal })).version;
  }

  /**
   * Gives a server that was restored from an older backup the versions of a room that it lost. Returns the room's
   * version.
   * Errors: forbidden, gone, conflict, contested, quota; invalid, whose details may say what the server has.
   */
  async restoreRoom(roomId: string, body: api.Restore, signal?: AbortSignal): Promise<number> {
    const options = { body, signal, size: "list", withinMs: timeoutMs.restore } as const;
    return (await this.request("PUT", at(roomId, "/restore"), api.Members, options)).version;
  }

  /** Admits a contested chain of a room, as an admin. Errors: forbidden, not_found, gone, conflict. */
  async takeChain(roomId: string, hash: string, signal?: AbortSignal): Promise<void> {
    return this.#order("PUT", at(roomId, "/way-back"), { body: { hash }, signal });
  }

  /** This peer's sealed key of an epoch. Errors: not_found if it was not a member in that epoch. */
  async roomKey(roomId: string, epoch: number, signal?: AbortSignal): Promise<Static<typeof api.RoomKey>> {
    return this.request("GET", at(roomId, `/key?epoch=${epoch}`), api.RoomKey, { signal });
  }

  /** The last frames of a room, or those before a sequence number, oldest first. */
  async history(
    roomId: string,
    page: { readonly limit?: number; readonly before?: number },
    signal?: AbortSignal,
  ): Promise<Static<typeof api.History>> {
    const query = Object.entries(page).map(([name, value]) => `${name}=${value}`);
    const target = at(roomId, `/history${query.length === 0 ? "" : `?${query.join("&")}`}`);
    return this.request("GET", target, api.History, { signal, size: "history" });
  }

  /** Binds the durable of a device. Errors: conflict if the room is not persisted; quota. */
  async bindDurable(roomId: string, device: string, signal?: AbortSignal): Promise<Static<typeof api.DurableBound>> {
    return this.request("PUT", at(roomId, `/durable?device=${fit(device, deviceShape)}`), api.DurableBound, { signal });
  }

  async unbindDurable(roomId: string, device: string, signal?: AbortSignal): Promise<void> {
    return this.#order("DELETE", at(roomId, `/durable?device=${fit(device, deviceShape)}`), { signal });
  }

  /** Stores a ciphertext and returns its hash. Errors: too_large, quota. */
  async putBlob(ciphertext: Uint8Array, signal?: AbortSignal): Promise<string> {
    const limits = { bytesMax: replyBytesMax.single, timeoutMs: timeoutMs.blob };
    const blob = { target: "/blobs", body: ciphertext, contentType: "application/octet-stream" };
    const { body, url } = await this.#ask({ method: "POST", ...blob, signer: this.identity, signal, ...limits });
    return contentOf(api.BlobStored, body, url).hash;
  }

  /** The bytes that the server returns for a hash. The caller must check them. Errors: not_found. */
  async getBlob(hash: string, signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
    const limits = { bytesMax: api.blobBytesMax, timeoutMs: timeoutMs.blob };
    return (
      await this.#ask({
        method: "GET",
        target: `/blobs/${fit(hash, hashShape)}`,
        signer: this.identity,
        signal,
        ...limits,
      })
    ).body;
  }

  /** A page of active users that match a query. Their keys are not verified: `Directory` does that. */
  async directory(query: DirectoryQuery, signal?: AbortSignal): Promise<Static<typeof api.Directory>> {
    const given = Object.entries(query).flatMap(([name, value]) => (value == null ? [] : [[name, String(value)]]));
    const search = new URLSearchParams(given).toString();
    const target = search === "" ? "/directory" : `/directory?${search}`;
    return this.request("GET", target, api.Directory, { signal, size: "page" });
  }

  /** Publishes this peer's kex key, once. Errors: conflict if another key is set. */
  async putKeys(signal?: AbortSignal): Promise<void> {
    const { kexPubHex: kex_pub, kexSig: kex_sig } = this.identity;
    return this.#order("PUT", "/users/me/keys", { body: { kex_pub, kex_sig }, signal });
  }
}

/** The delay before a request is sent again, in seconds; undefined if a retry is useless. */
function pauseOf(error: unknown): number | undefined {
  if (hasCode(error, "rate_limited")) return error.retryAfterS;
  if (!hasCode(error, "unavailable")) return undefined;
  return error.retryAfterS ?? (isPassing(error) ? patience.pauseS : undefined);
}
