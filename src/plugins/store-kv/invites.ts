import type { InviteRecord, InviteStore } from "../../contracts/store.ts";
import { UnibusError } from "../../wire/errors.ts";
import { buckets } from "../../wire/names.ts";
import { Bucket, untilMade } from "./bucket.ts";
import { type Calls, sideBySide } from "./calls.ts";

/** How long an invite may be noted and not be there, in milliseconds: by then its making has failed. */
const makingMsMax = 600_000;

/** After how long ids are taken off that wait no more, many at once, in milliseconds. */
const forgetAfterMs = 500;

/** When each pending invite was noted, by id. */
type Pending = Readonly<Record<string, number>>;

/** The invites' part of the buckets. */
export interface InviteBuckets {
  readonly invites: Bucket<InviteRecord>;
  /** Ids of invites that may wait, so that reading those needs no list of the bucket. */
  readonly pending: Bucket<Pending>;
  readonly now: () => number;
}

/** The invites' part of the buckets. */
export function inviteBuckets(calls: Calls, now: () => number): InviteBuckets {
  return {
    invites: new Bucket(calls, buckets.invites, { recalls: true }),
    pending: new Bucket(calls, buckets.invites, { prefix: "pending.", recalls: true }),
    now,
  };
}

/** The one key of what waits. */
const pendingKey = "all";

/** Notes ids of invites, before the invites are there. False, and none is noted, where `max` others are. */
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

/** Takes ids off that wait no more. */
function forget({ pending }: InviteBuckets, ids: readonly string[]): Promise<void> {
  return pending.update(pendingKey, (known) => {
    if (known === null || !ids.some((id) => id in known)) return known;
    const kept: Record<string, number> = { ...known };
    for (const id of ids) delete kept[id];
    return kept;
  });
}

/** Takes ids off a moment later: one that stays noted does not wait for who reads the list. */
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

/** Writes invites over whatever is there. */
export async function putInvites(kv: InviteBuckets, invites: readonly InviteRecord[]): Promise<void> {
  if (invites.length === 0) return;
  await note(
    kv,
    invites.filter(({ usedAt }) => usedAt === null).map(({ id }) => id),
  );
  await sideBySide(invites, (invite) => kv.invites.put(invite.id, invite));
}

/** Cleans up what was noted and does not wait any more, once for all who ask at the same time. */
function createCleaning(kv: InviteBuckets): () => Promise<unknown> {
  let underWay: Promise<unknown> | null = null;
  return () => {
    underWay ??= readPending(kv).finally(() => {
      underWay = null;
    });
    return underWay;
  };
}

/** Every invite that waits, by creation. Takes off what was noted and does not wait any more. */
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

/** Invites in their bucket. Using one is a compare-and-set of its entry. */
export function createInvites(kv: InviteBuckets): InviteStore {
  const forgetSoon = createForgetting(kv);
  const clean = createCleaning(kv);
  const changed = (id: string, change: (invite: InviteRecord) => InviteRecord | null): Promise<boolean> =>
    kv.invites.change(id, (invite) => invite && change(invite));

  return {
    async insertInvite(invite, pendingMax) {
      const reserve = () => note(kv, [invite.id], pendingMax);
      if (invite.usedAt === null && !(await reserve())) {
        // Some that are noted may not wait any more.
        await clean();
        if (!(await reserve())) return false;
      }
      if ((await kv.invites.create(invite.id, invite)) !== null) return true;
      throw new UnibusError("conflict", `the invite ${invite.id} is there already (make another token)`);
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
    async completeInvite(id, at, made) {
      // A claim that counts as completed makes no user again: were it noted first, a failure would burn the invite.
      await made;
      await changed(id, (invite) =>
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
