import type { AdminRoster, UserRecord, UserStore } from "../../contracts/store.ts";
import { sideBySide } from "../../lib/side-by-side.ts";
import type { JetStream } from "../../nats/jetstream.ts";
import { UnibusError } from "../../wire/errors.ts";
import { buckets, endpointId } from "../../wire/names.ts";
import { Bucket, untilMade } from "./bucket.ts";
import type { LinearizableReads } from "./entry.ts";
import type { UserIndex } from "./user-index.ts";

/** The lists of user keys, each named after the first hex digit of its keys. */
const lists = "0123456789abcdef".split("");

type StoredUser = Omit<UserRecord, "revision">;

/** The buckets of the users. */
export interface UserBuckets {
  /** By endpoint. It is derived from the user's key, so one read finds a user by either. */
  readonly users: Bucket<StoredUser>;
  /** The keys of all current and past users, so that listing users does not require listing the bucket. */
  readonly lists: Bucket<readonly string[]>;
  readonly roster: Bucket<readonly string[]>;
}

/** Creates the buckets of the users. */
export function userBuckets(js: JetStream, linearizable: LinearizableReads): UserBuckets {
  return {
    users: new Bucket(js, buckets.users, { linearizable }),
    lists: new Bucket(js, buckets.users, { prefix: "list.", recalls: true }),
    roster: new Bucket(js, buckets.users, { prefix: "admins.", linearizable }),
  };
}

/** The only key of the roster. */
const rosterKey = "active";

/** Adds the keys of users to the lists, before the users are written. */
async function note(kv: UserBuckets, keys: readonly string[]): Promise<void> {
  await sideBySide([...Map.groupBy(keys, (key) => key.charAt(0))], ([digit, added]) =>
    kv.lists.update(digit, (known) => {
      const all = new Set([...(known ?? []), ...added]);
      return all.size === known?.length ? known : [...all].sort();
    }),
  );
}

/** Writes users over any existing ones. */
export async function putUsers(kv: UserBuckets, users: readonly UserRecord[]): Promise<void> {
  await note(
    kv,
    users.map(({ signPub }) => signPub),
  );
  await sideBySide(users, ({ revision: _, ...user }) => kv.users.put(user.endpoint, user));
}

/** Replaces the admin roster. */
export async function putRoster(kv: UserBuckets, admins: readonly string[]): Promise<void> {
  await kv.roster.put(rosterKey, admins);
}

async function find(kv: UserBuckets, endpoint: string): Promise<UserRecord | null> {
  const { value, revision } = await kv.users.get(endpoint);
  return value && { ...value, revision };
}

/** Implements the user store. A record's revision is that of its entry. */
export function createUsers(kv: UserBuckets, index: UserIndex): UserStore {
  return {
    getUser: (signPub) => find(kv, endpointId(signPub)),
    getUserByEndpoint: (endpoint) => find(kv, endpoint),
    async insertUser({ revision: _, ...user }) {
      await note(kv, [user.signPub]);
      if ((await kv.users.create(user.endpoint, user)) !== null) return;
      throw new UnibusError("conflict", `the key ${user.signPub} already belongs to a user (change that one)`);
    },
    async replaceUser({ revision, ...user }) {
      // A compare-and-set on revision 0 would create a missing user.
      if ((await kv.users.get(user.endpoint)).value === null) return false;
      return (await kv.users.replace(user.endpoint, user, revision)) !== null;
    },
    deleteUser(signPub) {
      const endpoint = endpointId(signPub);
      return untilMade(async () => {
        const { value, revision } = await kv.users.get(endpoint);
        if (value === null) return { result: false };
        return (await kv.users.remove(endpoint, revision)) ? { result: true } : null;
      });
    },
    async listUsers(after, limit) {
      const digits = lists.filter((digit) => after === null || digit >= after.charAt(0));
      const listed = await sideBySide(digits, async (digit) => (await kv.lists.get(digit)).value ?? []);
      const keys = listed.flat().filter((signPub) => after === null || signPub > after);
      const users: UserRecord[] = [];
      while (users.length < limit && keys.length > 0) {
        const some = await sideBySide(keys.splice(0, limit - users.length), (key) => find(kv, endpointId(key)));
        for (const user of some) if (user !== null) users.push(user);
      }
      return users;
    },
    listActive: (query) => index.list(query),
    async getRoster(): Promise<AdminRoster> {
      const { value, revision } = await kv.roster.get(rosterKey);
      return { admins: value ?? [], revision };
    },
    async replaceRoster({ admins, revision }) {
      return (await kv.roster.replace(rosterKey, admins, revision)) !== null;
    },
  };
}
