/**
 * An in-memory index of the active users, by endpoint and by the looks of their handles. It serves the directory, so
 * that a page of it takes one request to nats-server instead of a thousand.
 *
 * It follows the bucket (see follower.ts). Looks are only in memory, so a new version of them needs no migration. It
 * takes about 800 bytes per user.
 */
import type { ActiveUsers, UserRecord } from "../../contracts/store.ts";
import { SortedKeys } from "../../lib/sorted-keys.ts";
import type { JetStream } from "../../nats/jetstream.ts";
import { type Looks, looksOf } from "../../wire/looks.ts";
import { buckets } from "../../wire/names.ts";
import { Follower, type Image } from "./linearizable/follower.ts";

type StoredUser = Omit<UserRecord, "revision">;

/** An active user: the record as JSON, parsed on demand, and the keys by which it is indexed. */
interface Held extends Looks {
  readonly json: string;
  readonly revision: number;
}

const before = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** A map from looks to endpoints. Most looks belong to one user. */
class LookMap {
  readonly #endpoints = new Map<string, Set<string>>();

  add(look: string, endpoint: string): void {
    const known = this.#endpoints.get(look);
    if (known === undefined) this.#endpoints.set(look, new Set([endpoint]));
    else known.add(endpoint);
  }

  remove(look: string, endpoint: string): void {
    const known = this.#endpoints.get(look);
    if (known?.delete(endpoint) && known.size === 0) this.#endpoints.delete(look);
  }

  of(look: string): Iterable<string> {
    return this.#endpoints.get(look) ?? [];
  }
}

/** The index of the active users. */
class UserImage implements Image {
  readonly #held = new Map<string, Held>();
  readonly #byLook1 = new LookMap();
  readonly #byLook2 = new LookMap();
  readonly #endpointKeys = new SortedKeys();

  list({ looks, after, limit }: ActiveUsers): UserRecord[] {
    return this.#endpoints(looks, after, limit).flatMap((endpoint) => {
      const held = this.#held.get(endpoint);
      return held === undefined ? [] : [{ ...(JSON.parse(held.json) as StoredUser), revision: held.revision }];
    });
  }

  #endpoints(looks: Looks | undefined, after: string | null, limit: number): string[] {
    if (looks !== undefined) {
      const found = new Set([...this.#byLook1.of(looks.look1), ...this.#byLook2.of(looks.look2)]);
      return [...found]
        .filter((endpoint) => after === null || endpoint > after)
        .sort(before)
        .slice(0, limit);
    }
    return this.#endpointKeys.page(after, limit);
  }

  set(endpoint: string, json: string, revision: number): void {
    const known = this.#held.get(endpoint);
    const user = json === "" ? null : (JSON.parse(json) as StoredUser);
    const held = user?.status === "active" ? { json, revision, ...looksOf(user.handle) } : null;
    if (known !== undefined) {
      this.#byLook1.remove(known.look1, endpoint);
      this.#byLook2.remove(known.look2, endpoint);
    }
    if (held === null) {
      this.#held.delete(endpoint);
      this.#endpointKeys.delete(endpoint);
    } else {
      this.#held.set(endpoint, held);
      this.#endpointKeys.add(endpoint);
      this.#byLook1.add(held.look1, endpoint);
      this.#byLook2.add(held.look2, endpoint);
    }
  }
}

/** Answers queries about the active users. */
export class UserIndex {
  readonly #follower: Follower<UserImage>;

  constructor(js: JetStream, signal?: AbortSignal) {
    const followed = { bucket: buckets.users, make: () => new UserImage(), name: "users" };
    this.#follower = new Follower(js, followed, signal);
  }

  /** Lists active users by endpoint, including every write before this call. Errors: unavailable. */
  async list(query: ActiveUsers): Promise<UserRecord[]> {
    return (await this.#follower.now()).list(query);
  }
}
