/**
 * Invites in their bucket: one entry for each invite, and one list of the ids that may be pending. So counting pending
 * invites takes one read, and listing them does not scan the bucket. An id is added to the list before its invite is
 * written, and removed some time after the invite is used or deleted. Invariant: every pending invite is in the list;
 * the list may also contain ids that are not pending, and readers check each entry. Claiming an invite is a
 * compare-and-set on its entry.
 */
import type { InviteRecord, InviteStore } from "../../contracts/store.ts";
import { sideBySide } from "../../lib/side-by-side.ts";
import type { JetStream } from "../../nats/jetstream.ts";
import { UnibusError } from "../../wire/errors.ts";
import { buckets } from "../../wire/names.ts";
import { Bucket, untilMade } from "./bucket.ts";

/** After this time an id without an invite counts as a failed creation, in milliseconds. */
const makingMsMax = 600_000;

/** The delay before ids are removed from the pending list, to remove many at once, in milliseconds. */
const forgetAfterMs = 500;

/** The pending list: for each id, when it was added. */
type Pending = Readonly<Record<string, number>>;

/** The buckets of the invites. */
export interface InviteBuckets {
  readonly invites: Bucket<InviteRecord>;
  /** The ids of invites that may be pending, so that reading them does not require listing the bucket. */
  readonly pending: Bucket<Pending>;
  readonly now: () => number;
}

/** Creates the buckets of the invites. */
export function inviteBuckets(js: JetStream, now: () => number): InviteBuckets {
  return {
    invites: new Bucket(js, buckets.invites, { recalls: true }),
    pending: new Bucket(js, buckets.invites, { prefix: "pending.", recalls: true }),
    now,
  };
}

/** The only key of the pending list. */
const pendingKey = "all";

/**
 * Adds ids to the pending list before their invites are written. Returns false and adds none if it has `max` others.
 */
async function note(
  { pending, now }: InviteBuckets,
  ids: readonly string[],
  max = Number.POSITIVE_INFINITY,
): Promise<boolean> {
  let isFull = false;
  await pending.update(pendingKey, (known) => {
    const added = ids.filter((id) => known?.[id] === undefined).map((id) => [id, now()]);
    isFull = added.length > 0 && Object.keys(known ?? {}).length + added.length > max;
    return isFull || added.length === 0 ? known : { ...known, ...Object.fromEntries(added) };
  });
  return !isFull;
}

/** Removes ids from the pending list. */
function forget({ pending }: InviteBuckets, ids: readonly string[]): Promise<void> {
  return pending.update(pendingKey, (known) => {
    if (known === null || !ids.some((id) => id in known)) return known;
    const kept: Record<string, number> = { ...known };
    for (const id of ids) delete kept[id];
    return kept;
  });
}

/** Removes ids from the pending list after a delay. Readers ignore an id that is still in it. */
function createForgetting(kv: InviteBuckets): (id: string) => void {
  let gone: string[] = [];
  const forgetAll = () => {
    const ids = gone;
    gone = [];
    forget(kv, ids).catch(() => undefined);
  };
  return (id) => {
    gone.push(id);
    if (gone.length === 1) setTimeout(forgetAll, forgetAfterMs).unref();
  };
}

/** Writes invites over any existing ones. */
export async function putInvites(kv: InviteBuckets, invites: readonly InviteRecord[]): Promise<void> {
  if (invites.length === 0) return;
  await note(
    kv,
    invites.filter(({ usedAt }) => usedAt === null).map(({ id }) => id),
  );
  await sideBySide(invites, (invite) => kv.invites.put(invite.id, invite));
}

/** Removes stale ids from the pending list. Concurrent callers share one run. */
function createCleaning(kv: InviteBuckets): () => Promise<unknown> {
  let underWay: Promise<unknown> | null = null;
  return () => {
    underWay ??= readPending(kv).finally(() => {
      underWay = null;
    });
    return underWay;
  };
}

/** Reads every pending invite in order of creation, and removes stale ids from the list. */
async function readPending(kv: InviteBuckets): Promise<InviteRecord[]> {
  const noted = Object.entries((await kv.pending.get(pendingKey)).value ?? {});
  const found = await sideBySide(noted, async ([id, notedAt]) => {
    return { id, notedAt, value: (await kv.invites.get(id)).value };
  });
  const past = found.filter(({ value, notedAt }) =>
    value === null ? kv.now() - notedAt > makingMsMax : value.usedAt !== null,
  );
  const ids = past.map(({ id }) => id);
  if (ids.length > 0) await forget(kv, ids).catch(() => undefined);
  return found
    .flatMap(({ value }) => (value?.usedAt === null ? [value] : []))
    .sort((a, b) => a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1));
}

/** Implements the invite store. Claiming an invite is a compare-and-set on its entry. */
export function createInvites(kv: InviteBuckets): InviteStore {
  const forgetSoon = createForgetting(kv);
  const clean = createCleaning(kv);
  const changed = (id: string, change: (invite: InviteRecord) => InviteRecord | null): Promise<boolean> =>
    kv.invites.change(id, (invite) => invite && change(invite));

  return {
    commitsTogether: false,
    async insertInvite(invite, pendingMax) {
      const reserve = () => note(kv, [invite.id], pendingMax);
      if (invite.usedAt === null && !(await reserve())) {
        // Some listed ids may be stale.
        await clean();
        if (!(await reserve())) return false;
      }
      if ((await kv.invites.create(invite.id, invite)) !== null) return true;
      throw new UnibusError("conflict", `invite ${invite.id} already exists (create another token)`);
    },
    async getInvite(id) {
      return (await kv.invites.get(id)).value;
    },
    async claimInvite(id, { signPub, kexPub, at }) {
      const claim = { usedAt: at, usedSignPub: signPub, usedKexPub: kexPub };
      const won = await changed(id, (invite) => (invite.usedAt === null ? { ...invite, ...claim } : null));
      if (won) forgetSoon(id);
      return won;
    },
    completeInvite(id, at) {
      return changed(id, (invite) =>
        invite.usedAt === null || invite.completedAt !== null ? null : { ...invite, completedAt: at },
      );
    },
    async deleteInvite(id) {
      const removed = await untilMade(async () => {
        const { value, revision } = await kv.invites.get(id);
        if (value === null || value.usedAt !== null) return { result: false };
        return (await kv.invites.remove(id, revision)) ? { result: true } : null;
      });
      if (removed) forgetSoon(id);
      return removed;
    },
    async listPendingInvites(limit) {
      return (await readPending(kv)).slice(0, limit);
    },
  };
}
