import type { Static, TSchema } from "@sinclair/typebox";
import * as api from "../wire/api.ts";
import { bytesOf } from "../wire/encoding.ts";
import { hasCode, isUnibusError, UnibusError } from "../wire/errors.ts";
import { BusClock, type OwnClock } from "./clock.ts";
import { at, deviceShape, endpointShape, fit, hashShape } from "./control-target.ts";
import { Detour } from "./detour.ts";
import { unreached } from "./fetch-fault.ts";
import { type Ask, busUrl, exchange, isCleartext } from "./http.ts";
import type { Identity } from "./identity.ts";
import { contentOf, isPassing } from "./reply.ts";
import { pause } from "./wait.ts";

/** How many addresses of one bus a client takes. */
const urlsMax = 16;
/**
 * How often a GET is sent that the bus cannot answer now; the pause where the bus names none, and the longest one that
 * is waited for, in seconds.
 */
const patience = { attempts: 4, pauseS: 0.5, pauseSMax: 10 } as const;
/** How long one request and its reply may take, in milliseconds. */
const timeoutMs = { info: 5_000, json: 30_000, blob: 300_000, restore: 300_000 } as const;
/** The largest replies that are read, in bytes. Lists grow with the bus: their limit is a guard of memory alone. */
const replyBytesMax = {
  single: 1_048_576,
  /** A thousand users with their keys, each handle as long as it may be. */
  page: 2 * 1_048_576,
  list: 64 * 1_048_576,
  statements: api.statementsMax * 20_000,
  history: Math.ceil(api.historyBytesMax / 3) * 4 + 1_048_576,
} as const;

type Method = Ask["method"];
type BytesMax = keyof typeof replyBytesMax;

/** What a control plane is made from. */
export interface ControlOptions {
  /** The addresses of one bus, the preferred first. */
  readonly urls: readonly string[];
  readonly identity: Identity;
  /** Where the one address is dialled instead: HOST:PORT. */
  readonly dial?: string | undefined;
  /** Told what the user should know and nothing else shows, such as an address that is not encrypted. */
  readonly onWarning?: (message: string) => void;
  /** Whether the bus's clock is followed however far it is off. Default: false. */
  readonly busClock?: boolean | undefined;
  /** This computer's clocks, where a test replaces them. */
  readonly ownClock?: OwnClock | undefined;
}

/** Which users of the directory are asked for; all where nothing is given. Source: spec 6. */
export interface DirectoryQuery {
  /** Every user whose handle has the same look. */
  readonly handle?: string;
  readonly endpoint?: string;
  readonly sign_pub?: string;
  /** The last endpoint of the page before. */
  readonly after?: string | null;
  readonly limit?: number;
}

/** One request's body and limits. */
export interface RequestOptions {
  readonly body?: unknown;
  readonly signal?: AbortSignal | undefined;
  readonly size?: BytesMax;
  /** How long the whole exchange may take, in milliseconds. */
  readonly withinMs?: number;
}

/**
 * The HTTP API of one bus, as one peer uses it: signed, with the next address where one does not answer.
 *
 * A request whose answer was lost is sent again, signed anew: to the next address or, where there is one alone, once
 * more to it. So a change may have been made by the copy before. Nothing is made twice by that: a statement fits one
 * version, and a second copy is answered by `conflict`, `gone` or `forbidden`; whoever gets one of these reads the
 * room again and looks for its own statement, as `RoomChanges` does.
 *
 * Requests are signed with the bus's time, within the bounds of `BusClock`: a bus that could shift the time of our
 * signatures at will could keep one for later. A request that is refused for its time is sent again once, if the bus's
 * clock can be taken up again.
 * Errors: what the bus answers; unavailable when no address answers, or one answers what is not in the API; the
 * signal's reason when the caller gives up.
 */
export class ControlPlane {
  readonly urls: readonly string[];
  readonly identity: Identity;
  /** The bus's clock: known from the first `info` on. */
  readonly clock: BusClock;
  /** Where the bus is dialled, if that is not its address. */
  readonly detour: Detour | undefined;
  /** The address that answered last. */
  #at = 0;
  /** Called when an address has answered with success. */
  onAnswer: () => void = () => undefined;

  constructor({ urls, identity, dial, onWarning, busClock, ownClock }: ControlOptions) {
    this.urls = [...new Set(urls.map(busUrl))];
    this.identity = identity;
    this.clock = new BusClock({ own: ownClock, follows: busClock, onWarning });
    if (this.urls.length === 0 || this.urls.length > urlsMax) {
      throw new UnibusError("invalid", `a bus has 1 to ${urlsMax} addresses, not ${this.urls.length} (name them)`);
    }
    if (dial !== undefined && this.urls.length > 1) {
      throw new UnibusError("invalid", `${JSON.stringify(dial)} is dialled for one address, not ${this.urls.length}`);
    }
    this.detour = dial === undefined ? undefined : new Detour(this.urls[0] ?? "", dial);
    for (const url of this.detour?.isLocal === true ? [] : this.urls.filter(isCleartext)) {
      onWarning?.(`${url} is not encrypted on the way: others can see who talks to whom (use https)`);
    }
  }

  /** Sends a signed request and gives what the reply says, by its schema. */
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

  /** Sends a signed request whose success says nothing. */
  async #order(method: Method, target: string, { body, signal }: RequestOptions): Promise<void> {
    const bytes = body === undefined ? undefined : bytesOf(JSON.stringify(body));
    const limits = { bytesMax: replyBytesMax.single, timeoutMs: timeoutMs.json };
    await this.#ask({ method, target, body: bytes, signer: this.identity, signal, ...limits });
  }

  /** Sends a request, again where a GET is told to wait. */
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
        // Later than asked, by chance: clients that were refused together do not come back together.
        await pause(1_000 * (pauseS + Math.random() * Math.max(1, pauseS)), ask.signal);
      }
    }
  }

  /** Sends a request to one address after another until one answers. */
  async #askAll(ask: Ask): Promise<{ readonly body: Uint8Array<ArrayBuffer>; readonly url: string }> {
    const isAlone = this.urls.length === 1;
    // An idle connection may be closed while a request is on its way: one address alone gets a second try.
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
          // Bun and browsers send a request again by themselves when its connection breaks: the copy's nonce is used.
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
   * What a client needs beside an address of the bus.
   * From an https address only tls and wss URLs of the data plane are let through. The reply's time sets the clock.
   * Errors: clock_skew where the clocks are too far apart. Source: spec 4, 9.
   */
  async info(signal?: AbortSignal): Promise<api.Info> {
    const { info, url, sentMs } = await this.#readInfo(signal);
    this.#learn(info, url, sentMs);
    return info;
  }

  /** Takes up the bus's time, if it says it. Gives whether the clock was set by it. Errors: clock_skew. */
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

  /** Compares the time of a reply with the clock, or sets the clock by it. Errors: clock_skew. */
  #learn({ time }: api.Info, url: string, sentMs: number): boolean {
    const [timeMs, receivedMs] = [Date.parse(time), this.clock.steadyMs()];
    const isOpen = isCleartext(url) && this.detour?.isLocal !== true;
    return this.clock.learn({ url, isCleartext: isOpen, timeMs, sentMs, receivedMs });
  }

  /** What each address that answers says, those first that are preferred. Errors: unavailable when none does. */
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

  /** What a reply to GET /info says, without what is less safe on the way than the address that gave it. */
  async #infoOf(body: Uint8Array<ArrayBuffer>, url: string): Promise<api.Info> {
    const info = contentOf(api.Info, body, url);
    const isSafe = url.startsWith("http:") || this.detour?.isLocal === true;
    const taken = (urls: readonly string[]) => urls.filter((one) => isSafe || /^(tls|wss):\/\//.test(one));
    const led = async (urls: string[]) => (await this.detour?.dataUrls(urls)) ?? urls;
    return { ...info, nats: await led(taken(info.nats)), ws: await led(taken(info.ws)) };
  }

  /** A page of one's own rooms, by room id: those after a room, only accepted or unaccepted ones. */
  async rooms(
    page: { readonly after?: string; readonly accepted?: boolean } = {},
    signal?: AbortSignal,
  ): Promise<Static<typeof api.RoomList>> {
    const query = Object.entries(page).map(([name, value]) => `${name}=${value}`);
    const target = `/members/${this.identity.endpoint}/rooms${query.length === 0 ? "" : `?${query.join("&")}`}`;
    return this.request("GET", target, api.RoomList, { signal, size: "list" });
  }

  /** Errors: forbidden, not_found, gone; so for all that names a room. */
  async room(roomId: string, signal?: AbortSignal): Promise<Static<typeof api.RoomView>> {
    return this.request("GET", at(roomId), api.RoomView, { signal });
  }

  /** Accepts one's membership. Idempotent. */
  async acceptRoom(roomId: string, signal?: AbortSignal): Promise<void> {
    return this.#order("PUT", at(roomId, "/accept"), { signal });
  }

  /** Errors: conflict for a subject or an id that is taken. */
  async createRoom(body: Static<typeof api.CreateRoom>, signal?: AbortSignal): Promise<Static<typeof api.Room>> {
    return this.request("POST", "/rooms", api.Room, { body, signal });
  }

  async deleteRoom(roomId: string, signal?: AbortSignal): Promise<void> {
    return this.#order("DELETE", at(roomId), { signal });
  }

  /** Every stay of every member. */
  async members(roomId: string, signal?: AbortSignal): Promise<Static<typeof api.MemberList>> {
    return this.request("GET", at(roomId, "/members"), api.MemberList, { signal, size: "list" });
  }

  /** The statements from a version on, as many as one reply holds. */
  async statements(roomId: string, from: number, signal?: AbortSignal): Promise<Static<typeof api.StatementList>> {
    const target = at(roomId, `/statements?from=${from}`);
    return this.request("GET", target, api.StatementList, { signal, size: "statements" });
  }

  /** Gives the room's new version. Errors: conflict when another change came first. */
  async addMembers(roomId: string, body: Static<typeof api.AddMembers>, signal?: AbortSignal): Promise<number> {
    return (await this.request("POST", at(roomId, "/members"), api.Members, { body, signal })).version;
  }

  /** Errors: conflict when another change came first. */
  async kick(roomId: string, endpoint: string, body: Static<typeof api.Rotate>, signal?: AbortSignal): Promise<void> {
    return this.#order("DELETE", at(roomId, `/members/${fit(endpoint, endpointShape)}`), { body, signal });
  }

  /** Errors: conflict for the last owner. */
  async leave(roomId: string, signal?: AbortSignal): Promise<void> {
    return this.#order("DELETE", at(roomId, `/members/${this.identity.endpoint}`), { signal });
  }

  /** Gives the room's new version. Errors: conflict when another change came first. */
  async rekey(roomId: string, body: Static<typeof api.Rotate>, signal?: AbortSignal): Promise<number> {
    return (await this.request("POST", at(roomId, "/rekey"), api.Members, { body, signal })).version;
  }

  /** Gives the room's new version. Errors: conflict when another change came first, or for the last owner. */
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
   * Gives a bus that was restored from an older backup the versions of a room that it lost. Gives the room's version.
   * Errors: forbidden, gone, conflict, contested, quota; invalid, whose details may say what the bus has.
   */
  async restoreRoom(roomId: string, body: api.Restore, signal?: AbortSignal): Promise<number> {
    const options = { body, signal, size: "list", withinMs: timeoutMs.restore } as const;
    return (await this.request("PUT", at(roomId, "/restore"), api.Members, options)).version;
  }

  /** Admits a contested chain of a room, as an admin. Errors: forbidden, not_found, gone, conflict. */
  async takeChain(roomId: string, hash: string, signal?: AbortSignal): Promise<void> {
    return this.#order("PUT", at(roomId, "/way-back"), { body: { hash }, signal });
  }

  /** One's own sealed key of an epoch. Errors: not_found where one was not in the room. */
  async roomKey(roomId: string, epoch: number, signal?: AbortSignal): Promise<Static<typeof api.RoomKey>> {
    return this.request("GET", at(roomId, `/key?epoch=${epoch}`), api.RoomKey, { signal });
  }

  /** The last frames of a room, or those before a sequence, oldest first. */
  async history(
    roomId: string,
    page: { readonly limit?: number; readonly before?: number },
    signal?: AbortSignal,
  ): Promise<Static<typeof api.History>> {
    const query = Object.entries(page).map(([name, value]) => `${name}=${value}`);
    const target = at(roomId, `/history${query.length === 0 ? "" : `?${query.join("&")}`}`);
    return this.request("GET", target, api.History, { signal, size: "history" });
  }

  /** Binds a device's durable. Errors: conflict when the room is not persisted; quota. */
  async bindDurable(roomId: string, device: string, signal?: AbortSignal): Promise<Static<typeof api.DurableBound>> {
    return this.request("PUT", at(roomId, `/durable?device=${fit(device, deviceShape)}`), api.DurableBound, { signal });
  }

  async unbindDurable(roomId: string, device: string, signal?: AbortSignal): Promise<void> {
    return this.#order("DELETE", at(roomId, `/durable?device=${fit(device, deviceShape)}`), { signal });
  }

  /** Stores a ciphertext and gives its hash. Errors: too_large, quota. */
  async putBlob(ciphertext: Uint8Array, signal?: AbortSignal): Promise<string> {
    const limits = { bytesMax: replyBytesMax.single, timeoutMs: timeoutMs.blob };
    const blob = { target: "/blobs", body: ciphertext, contentType: "application/octet-stream" };
    const { body, url } = await this.#ask({ method: "POST", ...blob, signer: this.identity, signal, ...limits });
    return contentOf(api.BlobStored, body, url).hash;
  }

  /** The bytes that the bus gives for a hash: the reader checks them. Errors: not_found. */
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

  /** A page of active users that fit a query, as the bus names them: `Directory` checks their keys. */
  async directory(query: DirectoryQuery, signal?: AbortSignal): Promise<Static<typeof api.Directory>> {
    const given = Object.entries(query).flatMap(([name, value]) => (value == null ? [] : [[name, String(value)]]));
    const search = new URLSearchParams(given).toString();
    const target = search === "" ? "/directory" : `/directory?${search}`;
    return this.request("GET", target, api.Directory, { signal, size: "page" });
  }

  /** Tells the bus one's own kex key, once. Errors: conflict when another one is there. */
  async putKeys(signal?: AbortSignal): Promise<void> {
    const { kexPubHex: kex_pub, kexSig: kex_sig } = this.identity;
    return this.#order("PUT", "/users/me/keys", { body: { kex_pub, kex_sig }, signal });
  }
}

/** After how many seconds a request is sent again, or undefined where that is of no use. */
function pauseOf(error: unknown): number | undefined {
  if (hasCode(error, "rate_limited")) return error.retryAfterS;
  if (!hasCode(error, "unavailable")) return undefined;
  return error.retryAfterS ?? (isPassing(error) ? patience.pauseS : undefined);
}
