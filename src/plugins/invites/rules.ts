/**
 * The rules of invites: create, list, cancel, redeem.
 * An invite is pending, then used (claimed by a pair of keys), then completed (its user exists). Exactly one claim
 * wins, by a compare-and-set in the store. The winner may repeat its request for 10 minutes, so a lost reply or a crash
 * between claim and user does not lose the invite. index.ts serves this; the kernel's host commands use it as
 * `Invites`.
 */
import { randomBytes } from "node:crypto";
import type { Denials } from "../../contracts/denials.ts";
import type { Invites, MadeInvite, Redeemer } from "../../contracts/invites.ts";
import { checkKexKey, checkSignKey } from "../../contracts/signature.ts";
import type { InviteRecord, InviteStore, UserRecord, UserStore } from "../../contracts/store.ts";
import type { Users } from "../../contracts/users.ts";
import type { UserRole } from "../../wire/api.ts";
import { sha256Hex, toHex } from "../../wire/encoding.ts";
import { hasCode, UnibusError } from "../../wire/errors.ts";
import { checkHandle } from "../../wire/handles.ts";

/** Maximum number of pending invites. Source: docs/protocol/identity.md. */
const pendingMax = 1_000;
/** How long the same token and keys may repeat a redemption, in milliseconds. Source: docs/protocol/identity.md. */
const resumeMs = 10 * 60_000;
/** The first admin's invite: its handle, and its lifetime in seconds. Source: docs/protocol/identity.md. */
const firstAdminInvite = { handle: "admin", role: "admin" as const, ttlS: 3_600 };

/** The verified keys of a person who redeems an invite. */
type KexOwner = Pick<Redeemer, "signPub" | "kexPub" | "kexSig">;

const idOf = (tokenHash: string): string => tokenHash.slice(0, 32);

/** An expiry that is not a number counts as past. */
const isExpired = ({ expiresAt }: InviteRecord, now: number): boolean => !(expiresAt > now);

/** Applies the rules of invites to a store. */
export class InviteRules implements Invites {
  readonly #store: InviteStore;
  readonly #users: Users;
  readonly #userStore: UserStore;
  readonly #denials: Denials | undefined;
  readonly #now: () => number;
  #removing: Promise<boolean> | null = null;

  constructor(parts: {
    readonly store: InviteStore;
    readonly users: Users;
    readonly userStore: UserStore;
    readonly denials?: Denials | undefined;
    readonly now: () => number;
  }) {
    this.#store = parts.store;
    this.#users = parts.users;
    this.#userStore = parts.userStore;
    this.#denials = parts.denials;
    this.#now = parts.now;
  }

  async create(asked: { handle: string; role: UserRole; ttlS: number }): Promise<MadeInvite> {
    const { role, ttlS } = asked;
    const handle = checkHandle(asked.handle);
    const token = toHex(randomBytes(32));
    const tokenHash = sha256Hex(token);
    const createdAt = this.#now();
    const invite: InviteRecord = {
      ...{ id: idOf(tokenHash), tokenHash, handle, role, createdAt, expiresAt: createdAt + ttlS * 1_000 },
      ...{ usedAt: null, usedSignPub: null, usedKexPub: null, completedAt: null },
    };
    const add = () => this.#store.insertInvite(invite, pendingMax);
    const isAdded = (await add()) || ((await this.#removeExpired()) && (await add()));
    if (!isAdded) {
      throw new UnibusError("quota", `invite limit reached: ${pendingMax} are pending (cancel one)`);
    }
    return { invite, token };
  }

  async pending(): Promise<InviteRecord[]> {
    const all = await this.#store.listPendingInvites(pendingMax);
    return all.filter((invite) => !isExpired(invite, this.#now()));
  }

  async cancel(id: string): Promise<void> {
    const isPending = (await this.#store.getInvite(id))?.usedAt === null;
    if (isPending) await this.#denials?.note("invite-cancelled", id);
    if (isPending && (await this.#store.deleteInvite(id))) return;
    throw new UnibusError("not_found", "no such pending invite (see GET /invites)");
  }

  async redeem(redeemer: Redeemer): Promise<UserRecord> {
    // Check the keys first: bad keys must not use up the invite.
    const signPub = checkSignKey(redeemer.signPub);
    const { kexPub, kexSig } = await checkKexKey(signPub, redeemer.kexPub, redeemer.kexSig);
    const tokenHash = sha256Hex(redeemer.token);
    const invite = await this.#store.getInvite(idOf(tokenHash));
    if (invite === null || invite.tokenHash !== tokenHash) {
      throw new UnibusError("not_found", "no such invite (ask for a new link)");
    }
    const claim = { signPub, kexPub, at: this.#now() };
    if (invite.usedAt !== null) return this.#resume(invite, { ...claim, kexSig });
    if (isExpired(invite, claim.at)) {
      throw new UnibusError("gone", "this invite has expired (ask for a new link)");
    }
    // Before the claim: if the process dies between the two, a valid invite counts as spent.
    await this.#denials?.note("invite-spent", invite.id);
    if (!(await this.#store.claimInvite(invite.id, claim))) {
      const current = await this.#store.getInvite(invite.id);
      if (current === null) throw new UnibusError("not_found", "this invite was cancelled (ask for a new link)");
      return this.#resume(current, { ...claim, kexSig });
    }
    return this.#complete({ ...invite, usedAt: claim.at }, { signPub, kexPub, kexSig });
  }

  async firstAdmin(): Promise<MadeInvite | null> {
    if ((await this.#userStore.getRoster()).admins.length > 0) return null;
    const { handle, role, ttlS } = firstAdminInvite;
    for (const invite of await this.#store.listPendingInvites(pendingMax)) {
      const isOfABootBefore = invite.expiresAt - invite.createdAt === ttlS * 1_000;
      if (invite.handle !== handle || invite.role !== role || !isOfABootBefore) continue;
      await this.#denials?.note("invite-cancelled", invite.id);
      await this.#store.deleteInvite(invite.id);
    }
    return this.create(firstAdminInvite);
  }

  /** Handles a used invite: the same keys get the same answer again for a limited time. */
  async #resume(invite: InviteRecord, keys: KexOwner & { readonly at: number }): Promise<UserRecord> {
    const isSame = invite.usedSignPub === keys.signPub && invite.usedKexPub === keys.kexPub;
    const used = new UnibusError("conflict", "this invite has already been used (ask for a new link)");
    if (!isSame || keys.at - (invite.usedAt ?? 0) >= resumeMs) throw used;
    const made = await this.#madeBy(invite, keys);
    if (made !== null) {
      if (invite.completedAt === null) await this.#store.completeInvite(invite.id, this.#now());
      return made;
    }
    if (invite.completedAt !== null) throw used;
    return this.#complete(invite, keys);
  }

  /** Creates the user of a claim, or finds it already created. */
  async #complete(invite: InviteRecord, keys: KexOwner): Promise<UserRecord> {
    try {
      return await this.#admit(invite, keys);
    } catch (error) {
      // A parallel duplicate of this request may have created it.
      const theirs = hasCode(error, "conflict") ? await this.#madeBy(invite, keys) : null;
      if (theirs !== null) return theirs;
      throw error;
    }
  }

  /** The active user that a claim created, or null. A user older than the claim is not its user. */
  async #madeBy(invite: InviteRecord, { signPub, kexPub }: KexOwner): Promise<UserRecord | null> {
    const user = await this.#userStore.getUser(signPub);
    if (user === null || user.status !== "active" || user.createdAt < (invite.usedAt ?? 0)) return null;
    const isIts = user.kexPub === kexPub && user.handle === invite.handle && user.role === invite.role;
    return isIts ? user : null;
  }

  /**
   * Creates the user, then completes the invite. A completed invite never creates its user again, so completing it
   * before the user exists would lose the invite if the process stops in between. Only a store that commits both
   * together may get both at once.
   */
  async #admit(invite: InviteRecord, keys: KexOwner): Promise<UserRecord> {
    const { handle, role } = invite;
    const { signPub, kexPub, kexSig } = keys;
    const added = this.#users.admit({ signPub, kexPub, kexSig, handle, role });
    if (!this.#store.commitsTogether) await added;
    const [user] = await Promise.allSettled([added, this.#store.completeInvite(invite.id, this.#now())]);
    if (user.status === "rejected") throw user.reason;
    return user.value;
  }

  /** Removes expired pending invites, once for all concurrent callers. Returns whether there were any. */
  #removeExpired(): Promise<boolean> {
    this.#removing ??= this.#removeThem().finally(() => {
      this.#removing = null;
    });
    return this.#removing;
  }

  async #removeThem(): Promise<boolean> {
    const waiting = await this.#store.listPendingInvites(pendingMax);
    const expired = waiting.filter((invite) => isExpired(invite, this.#now()));
    await Promise.all(expired.map(({ id }) => this.#store.deleteInvite(id)));
    return expired.length > 0;
  }
}
