import type { Static } from "@sinclair/typebox";
import type { Directory as DirectoryReply } from "../wire/api.ts";
import { UnibusError } from "../wire/errors.ts";
import { lookAlike } from "../wire/looks.ts";
import { endpointId, endpointPattern, handleLengthMax, keyPattern, normalKey } from "../wire/names.ts";
import type { ControlPlane, DirectoryQuery } from "./control.ts";
import type { ClientState } from "./state.ts";
import type { PeerKeys, Vouched } from "./vouched.ts";

type Entry = Static<typeof DirectoryReply>["members"][number];

/** A user as the bus lists them. The handle is the bus's word: who it names, only the keys say. */
export interface Peer {
  readonly endpoint: string;
  readonly sign_pub: string;
  readonly handle: string;
  readonly role: Entry["role"];
  /** Null before the user has brought a kex key: then nothing can be sealed to them. */
  readonly keys: PeerKeys | null;
}

/** A user who was looked up. */
export interface Found extends Peer {
  /**
   * The endpoint for which the handle was used first, where it is another one now: the user is warned, and says by
   * `approve` whether that is right. Null where nothing has changed.
   */
  readonly pinned: string | null;
}

/** Which page of the directory is asked for. */
export interface PageOptions {
  /** The `next` of the page before; null for the first page. */
  readonly after?: string | null;
  readonly limit?: number;
  readonly signal?: AbortSignal | undefined;
}

/** A page of users. */
export interface DirectoryPage {
  readonly peers: readonly Peer[];
  /** What the next page is `after`; null for the last page. */
  readonly next: string | null;
}

/** How many users with one look a refusal names. */
const namesakesMax = 20;

const endpointShape = new RegExp(endpointPattern);
const keyShape = new RegExp(keyPattern);

/** What a user is called. */
interface Named {
  readonly endpoint: string;
  readonly sign_pub: string;
  readonly handle: string;
}

/** Whether a name is one that somebody chose: what looks like an endpoint or a key never is. */
const isHandle = (name: string): boolean => !endpointShape.test(name) && !keyShape.test(name);

/**
 * The user that a handle, a key or an endpoint names among some users, or null. A handle names every user with the
 * same look: `b0b` is `bob`.
 * Errors: conflict for a handle that several users have, or that looks like theirs, with their endpoints.
 */
export function meant<User extends Named>(name: string, users: readonly User[]): User | null {
  const found = isHandle(name)
    ? users.filter(({ handle }) => lookAlike(handle, name))
    : users.filter(({ endpoint, sign_pub }) => endpoint === name || sign_pub === normalKey(name));
  if (found.length > 1) throw ambiguous(name, found);
  return found[0] ?? null;
}

function ambiguous(name: string, users: readonly Pick<Named, "endpoint">[]): UnibusError {
  const endpoints = users.map(({ endpoint }) => endpoint).join(", ");
  return new UnibusError(
    "conflict",
    `several users are called ${JSON.stringify(name)} or look like it: ${endpoints} (name one by its endpoint)`,
  );
}

/** What asks the bus for the users that a name may mean. Errors: invalid for what is longer than any handle. */
function queryOf(name: string): DirectoryQuery {
  if (endpointShape.test(name)) return { endpoint: name };
  if (keyShape.test(name)) return { sign_pub: normalKey(name) };
  const handle = name.normalize("NFC").trim();
  const { length } = [...handle];
  if (length <= handleLengthMax) return { handle, limit: namesakesMax };
  throw new UnibusError("invalid", `a handle of ${length} characters (use at most ${handleLengthMax})`);
}

const distrust = (what: string): UnibusError =>
  new UnibusError("forbidden", `${what} (the bus does not tell the truth: ask them for their endpoint, and an admin)`);

function peerOf({ endpoint, sign_pub, handle, role, kex_pub, kex_sig }: Entry): Peer {
  const keys = kex_pub === null || kex_sig === null ? null : { endpoint, sign_pub, kex_pub, kex_sig };
  return { endpoint, sign_pub, handle, role, keys };
}

/** The users of a bus, each checked when they are looked up. Source: spec 2, 14. */
export class Directory {
  constructor(
    private readonly control: ControlPlane,
    private readonly state: ClientState,
    private readonly vouched: Vouched,
  ) {}

  /**
   * A page of active users by endpoint, to be shown: nothing of them is checked but that each endpoint is that of its
   * key. Units: `limit` in users, 1,000 at most and by default.
   */
  async page({ after = null, limit, signal }: PageOptions = {}): Promise<DirectoryPage> {
    const query = { after, ...(limit !== undefined && { limit }) };
    const { members, more } = await this.control.directory(query, signal);
    const last = members.at(-1)?.endpoint ?? null;
    if (more && (last === null || (after !== null && last <= after))) throw distrust("the directory never ends");
    const peers = members
      .filter((one) => /^[0-9a-f]{64}$/.test(one.sign_pub) && endpointId(one.sign_pub) === one.endpoint)
      .map(peerOf);
    return { peers, next: more ? last : null };
  }

  /** Active users as `page` gives them, page by page as they are asked for: a bus may have very many. */
  async *list(options: Omit<PageOptions, "after"> = {}): AsyncGenerator<Peer> {
    for (let after: string | null = null; ; ) {
      const { peers, next }: DirectoryPage = await this.page({ ...options, after });
      yield* peers;
      if (next === null) return;
      after = next;
    }
  }

  /**
   * The users who are meant by handles, keys or endpoints, in their order. Only these are asked for.
   * Shape: what looks like an endpoint or a key is never taken for a handle: somebody may have chosen one that does. A
   * handle's endpoint is pinned at its first use.
   * Errors: not_found; conflict for a handle that several have, or that looks like theirs, with their endpoints;
   * forbidden where the bus shows keys that do not belong together.
   */
  async find(who: readonly string[], signal?: AbortSignal): Promise<Found[]> {
    const found: Found[] = [];
    for (const name of who) {
      found.push(await this.#find(name, await this.#named(name, signal)));
    }
    return found;
  }

  /** The users whom a handle, a key or an endpoint may mean, to be shown: several where they look alike. */
  async named(name: string, signal?: AbortSignal): Promise<Peer[]> {
    const members = await this.#named(name, signal);
    return members.filter((one) => !isHandle(name) || lookAlike(one.handle, name)).map(peerOf);
  }

  /**
   * Makes sure that a handle names one user alone, as the member of a room that was found by it. What is no handle
   * passes. Errors: conflict with the endpoints of all who have it, or look like it.
   */
  async checkAlone(name: string, endpoint: string, signal?: AbortSignal): Promise<void> {
    if (!isHandle(name)) return;
    const others = (await this.#named(name, signal)).filter((one) => lookAlike(one.handle, name));
    const endpoints = [...new Set([endpoint, ...others.map((one) => one.endpoint)])];
    if (endpoints.length > 1)
      throw ambiguous(
        name,
        endpoints.map((one) => ({ endpoint: one })),
      );
  }

  /** The users whom the bus has for a name. */
  async #named(name: string, signal: AbortSignal | undefined): Promise<readonly Entry[]> {
    const { members } = await this.control.directory(queryOf(name), signal);
    return members;
  }

  /**
   * The endpoint for which a name, or one that looks like it, was used first, where it is another than this one. Null
   * where it is the same, for a first use, which pins it, and for what is no handle.
   */
  async pinned(name: string, endpoint: string): Promise<string | null> {
    if (!isHandle(name)) return null;
    const kept = await this.state.handle(name);
    const known = kept === null ? await this.#pinnedAlike(name) : [kept];
    const [first = await this.state.pinHandle(name, endpoint)] = known;
    return first === endpoint || known.includes(endpoint) ? null : first;
  }

  /** Takes the endpoint that a handle has now as the right one: the user has asked them. */
  async approve({ handle, endpoint }: Pick<Found, "handle" | "endpoint">): Promise<void> {
    const alike = (await this.state.handles()).filter((pin) => lookAlike(pin.handle, handle));
    for (const name of new Set([handle, ...alike.map((pin) => pin.handle)])) {
      await this.state.repinHandle(name, endpoint);
    }
  }

  async #pinnedAlike(name: string): Promise<string[]> {
    const pins = await this.state.handles();
    return pins.filter(({ handle }) => lookAlike(handle, name)).map((pin) => pin.endpoint);
  }

  async #find(name: string, members: readonly Entry[]): Promise<Found> {
    const shown = JSON.stringify(name);
    const entry = meant(name, members);
    if (entry === null) throw new UnibusError("not_found", `no user here is ${shown} (see the directory)`);
    const peer = peerOf(entry);
    await this.#check(peer, shown);
    return { ...peer, pinned: await this.pinned(name, peer.endpoint) };
  }

  async #check({ endpoint, sign_pub, keys }: Peer, shown: string): Promise<void> {
    if (!/^[0-9a-f]{64}$/.test(sign_pub) || endpointId(sign_pub) !== endpoint) {
      throw distrust(`${shown} has an endpoint that is not that of their key`);
    }
    const fault = keys === null ? null : await this.vouched.faultOf(keys);
    if (fault !== null) throw distrust(`${shown} ${fault}`);
  }
}
