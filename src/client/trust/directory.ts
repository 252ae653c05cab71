/**
 * Finds users by handle, key or endpoint, and verifies the keys that the server returns for them.
 *
 * Only an endpoint identifies a user, because it is derived from the signing key. Handles are assigned by the server:
 * two that look alike (`b0b`, `bob`) are ambiguous, and the endpoint behind a handle is pinned at first use, in the
 * client's state. Used by `Bus.directory`, by `Membership` to add and remove members, and by the command line.
 */
import type { Static } from "@sinclair/typebox";
import type { Directory as DirectoryReply } from "../../wire/api.ts";
import { UnibusError } from "../../wire/errors.ts";
import { lookAlike } from "../../wire/looks.ts";
import { endpointId, endpointPattern, handleLengthMax, keyPattern, normalKey } from "../../wire/names.ts";
import type { PeerKeys, VerifiedKeys } from "../crypto/verified-keys.ts";
import type { ControlPlane } from "../transport/control.ts";
import type { DirectoryQuery } from "../transport/control-queries.ts";
import type { ClientState } from "./state.ts";

/** A user as the directory lists it. */
type Entry = Static<typeof DirectoryReply>["members"][number];

/** A user as the server lists them. The server assigns the handle; only the keys prove who it is. */
export interface Peer {
  readonly endpoint: string;
  readonly sign_pub: string;
  readonly handle: string;
  readonly role: Entry["role"];
  /** Null until the user has published a kex key. Nothing can be sealed to them before. */
  readonly keys: PeerKeys | null;
}

/** A user who was looked up. */
export interface Found extends Peer {
  /**
   * The endpoint that the handle was pinned to, if it differs from the current one: warn the user, who calls `approve`
   * if the change is right. Null if nothing changed.
   */
  readonly pinned: string | null;
}

/** Selects a page of the directory. */
export interface PageOptions {
  /** The `next` of the previous page; null for the first page. */
  readonly after?: string | null;
  readonly limit?: number;
  readonly signal?: AbortSignal | undefined;
}

/** A page of users. */
export interface DirectoryPage {
  readonly peers: readonly Peer[];
  /** The `after` of the next page; null if this is the last page. */
  readonly next: string | null;
}

/** Maximum number of look-alike users that an error lists, and how many the first request for a handle reads. */
const namesakesMax = 20;
/** The most pages that are read for one name: a million users. More of them are a server that does not end. */
const pagesMax = 1_000;

const endpointShape = new RegExp(endpointPattern);
const keyShape = new RegExp(keyPattern);

/** The names and keys by which a user can be found. */
interface Named {
  readonly endpoint: string;
  readonly sign_pub: string;
  readonly handle: string;
}

/** Whether a name is a handle, which a user can choose. A name with the format of an endpoint or a key never is. */
const isHandle = (name: string): boolean => !endpointShape.test(name) && !keyShape.test(name);

/**
 * The user among `users` that a handle, key or endpoint names, or null. A handle names every user whose handle looks
 * the same: `b0b` is `bob`.
 * Errors: conflict, with the endpoints, if several users have the handle or a look-alike.
 */
export function meant<User extends Named>(name: string, users: readonly User[]): User | null {
  const found = isHandle(name)
    ? users.filter(({ handle }) => lookAlike(handle, name))
    : users.filter(({ endpoint, sign_pub }) => endpoint === name || sign_pub === normalKey(name));
  if (found.length > 1) throw ambiguous(name, found);
  return found[0] ?? null;
}

function ambiguous(name: string, users: readonly Pick<Named, "endpoint">[]): UnibusError {
  const endpoints = users.slice(0, namesakesMax).map(({ endpoint }) => endpoint);
  const shown = endpoints.join(", ") + (users.length > namesakesMax ? ", and more" : "");
  return new UnibusError(
    "conflict",
    `several users are named ${JSON.stringify(name)} or look like it: ${shown} (give an endpoint instead)`,
  );
}

/** The query for the users that a name may mean. Errors: invalid if it is longer than any handle. */
function queryOf(name: string): DirectoryQuery {
  if (endpointShape.test(name)) return { endpoint: name };
  if (keyShape.test(name)) return { sign_pub: normalKey(name) };
  const handle = name.normalize("NFC").trim();
  const { length } = [...handle];
  if (length <= handleLengthMax) return { handle };
  throw new UnibusError("invalid", `handle has ${length} characters (use at most ${handleLengthMax})`);
}

const distrust = (what: string): UnibusError =>
  new UnibusError(
    "forbidden",
    `${what} (the server shows keys that do not match: ask this person for their endpoint, and inform an admin)`,
  );

function peerOf({ endpoint, sign_pub, handle, role, kex_pub, kex_sig }: Entry): Peer {
  const keys = kex_pub === null || kex_sig === null ? null : { endpoint, sign_pub, kex_pub, kex_sig };
  return { endpoint, sign_pub, handle, role, keys };
}

/** The users of a bus. Each lookup verifies their keys. Source: docs/protocol/identity.md. */
export class Directory {
  constructor(
    private readonly control: ControlPlane,
    private readonly state: ClientState,
    private readonly vouched: VerifiedKeys,
  ) {}

  /**
   * A page of active users by endpoint, for display. The only check is that each endpoint is derived from its key.
   * Units: `limit` in users, at most 1,000, which is the default.
   */
  async page({ after = null, limit, signal }: PageOptions = {}): Promise<DirectoryPage> {
    const { members, next } = await this.#page({ after, ...(limit !== undefined && { limit }) }, signal);
    const peers = members
      .filter((one) => /^[0-9a-f]{64}$/.test(one.sign_pub) && endpointId(one.sign_pub) === one.endpoint)
      .map(peerOf);
    return { peers, next };
  }

  /** Reads one page. `next` is the `after` of the next one. Errors: forbidden if the pages do not ascend. */
  async #page(query: DirectoryQuery, signal: AbortSignal | undefined) {
    const { members, more } = await this.control.directory(query, signal);
    const last = members.at(-1)?.endpoint ?? null;
    if (more && (last === null || (query.after != null && last <= query.after)))
      throw distrust("the server's directory repeats its pages");
    return { members, next: more ? last : null };
  }

  /** All active users, read page by page as the caller iterates: a bus may have very many. */
  async *list(options: Omit<PageOptions, "after"> = {}): AsyncGenerator<Peer> {
    for (let after: string | null = null; ; ) {
      const { peers, next }: DirectoryPage = await this.page({ ...options, after });
      yield* peers;
      if (next === null) return;
      after = next;
    }
  }

  /**
   * The users that handles, keys or endpoints name, in the same order. Only these are queried.
   * Shape: a name with the format of an endpoint or a key is never read as a handle, because a user could choose such a
   * handle. A handle's endpoint is pinned at first use.
   * Errors: not_found; conflict, with the endpoints, if several users have the handle or a look-alike; forbidden if the
   * server returns keys that do not belong together.
   */
  async find(who: readonly string[], signal?: AbortSignal): Promise<Found[]> {
    const found: Found[] = [];
    for (const name of who) {
      found.push(await this.#find(name, await this.#named(name, signal, namesakesMax)));
    }
    return found;
  }

  /** The users that a handle, key or endpoint may mean, for display. There are several if handles look alike. */
  async named(name: string, signal?: AbortSignal): Promise<Peer[]> {
    return (await this.#named(name, signal)).map(peerOf);
  }

  /**
   * Makes sure that a handle by which a room's member was found names that user only. Endpoints and keys always pass.
   * Errors: conflict, with the endpoints of all users who have the handle or a look-alike.
   */
  async checkAlone(name: string, endpoint: string, signal?: AbortSignal): Promise<void> {
    if (!isHandle(name)) return;
    const others = await this.#named(name, signal, namesakesMax);
    const endpoints = [...new Set([endpoint, ...others.map((one) => one.endpoint)])];
    if (endpoints.length > 1)
      throw ambiguous(
        name,
        endpoints.map((one) => ({ endpoint: one })),
      );
  }

  /**
   * The users that a name may mean, read page by page until there are no more, or until more than `enough` are found.
   * The server may also return users whose handles only it considers alike.
   */
  async #named(name: string, signal?: AbortSignal, enough = Number.POSITIVE_INFINITY): Promise<readonly Entry[]> {
    if (!isHandle(name)) return (await this.#page(queryOf(name), signal)).members;
    const query = queryOf(name);
    const found: Entry[] = [];
    for (let pages = 0, after: string | null = null; pages < pagesMax; pages++) {
      const { members, next } = await this.#page(
        { ...query, after, ...(pages === 0 && { limit: namesakesMax }) },
        signal,
      );
      found.push(...members.filter((one) => lookAlike(one.handle, name)));
      if (next === null || found.length > enough) return found;
      after = next;
    }
    throw distrust("the server's directory does not end");
  }

  /**
   * The endpoint that a handle or a look-alike was pinned to, if it is not this one. Null if it is the same, for the
   * first use, which pins it, and for endpoints and keys.
   */
  async pinned(name: string, endpoint: string): Promise<string | null> {
    if (!isHandle(name)) return null;
    const kept = await this.state.handle(name);
    const known = kept === null ? await this.#pinnedAlike(name) : [kept];
    const [first = await this.state.pinHandle(name, endpoint)] = known;
    return first === endpoint || known.includes(endpoint) ? null : first;
  }

  /** Pins a handle to its current endpoint. The caller has verified the endpoint with the user out of band. */
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
    if (entry === null) throw new UnibusError("not_found", `${shown} is not a user of this bus (see the directory)`);
    const peer = peerOf(entry);
    await this.#check(peer, shown);
    return { ...peer, pinned: await this.pinned(name, peer.endpoint) };
  }

  async #check({ endpoint, sign_pub, keys }: Peer, shown: string): Promise<void> {
    if (!/^[0-9a-f]{64}$/.test(sign_pub) || endpointId(sign_pub) !== endpoint) {
      throw distrust(`the endpoint of ${shown} does not belong to their sign_pub`);
    }
    const fault = keys === null ? null : await this.vouched.faultOf(keys);
    if (fault !== null) throw distrust(`${shown} ${fault}`);
  }
}
