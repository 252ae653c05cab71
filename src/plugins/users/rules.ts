/**
 * The rules of users: add, rename, revoke, restore, remove.
 * Invariants: an admin leaves the roster before the user changes and enters it only after the user exists (a race of
 * the two is repaired by both sides). Through the API the last active admin can be neither revoked nor removed. A
 * denial is recorded before access is taken away. A departing user is marked as having left each room, and the room's
 * owners get a notice to rekey. Every change is a compare-and-set, retried when it loses. index.ts and the invites
 * plugin use this.
 */
import { type Denials, stayDenialKey } from "../../contracts/denials.ts";
import type { Notices } from "../../contracts/notices.ts";
import { checkKexKey, checkSignKey, type KexKey } from "../../contracts/signature.ts";
import { changeStay, isOwnerIn, leaving, renamed } from "../../contracts/stay-rules.ts";
import type { RoomStore, UserRecord, UserStore } from "../../contracts/store.ts";
import type { RoomStreams } from "../../contracts/streams.ts";
import type { NewUser, Users } from "../../contracts/users.ts";
import { UnibusError } from "../../wire/errors.ts";
import { checkHandle } from "../../wire/handles.ts";
import { endpointId, normalKey } from "../../wire/names.ts";

/** How often a lost compare-and-set is retried before the store counts as too busy. */
const attemptsMax = 100;

/** Repeats `attempt` until it returns a result. Errors: unavailable if it never does. */
async function untilWon<T>(attempt: () => Promise<T | undefined>): Promise<T> {
  for (let i = 0; i < attemptsMax; i++) {
    const result = await attempt();
    if (result !== undefined) return result;
  }
  throw new UnibusError("unavailable", "too many changes at once (try again)");
}

/** Applies the rules of users to a store. `rooms` is optional. */
export class UserRules implements Users {
  readonly #store: UserStore;
  readonly #rooms: RoomStore | undefined;
  readonly #streams: RoomStreams | undefined;
  readonly #notices: Notices;
  readonly #denials: Denials | undefined;
  readonly #now: () => number;

  constructor(parts: {
    readonly store: UserStore;
    readonly rooms: RoomStore | undefined;
    readonly streams?: RoomStreams | undefined;
    readonly notices: Notices;
    readonly denials?: Denials | undefined;
    readonly now: () => number;
  }) {
    this.#store = parts.store;
    this.#rooms = parts.rooms;
    this.#streams = parts.streams;
    this.#notices = parts.notices;
    this.#denials = parts.denials;
    this.#now = parts.now;
  }

  async add(given: NewUser): Promise<UserRecord> {
    const user = { ...given, handle: checkHandle(given.handle) };
    const signPub = checkSignKey(user.signPub);
    if ((user.kexPub === undefined) !== (user.kexSig === undefined)) {
      throw new UnibusError("invalid", "kex_pub and kex_sig go together (send both or neither)");
    }
    const { kexPub, kexSig } = user;
    if (kexPub === undefined || kexSig === undefined) return this.#insert({ ...user, signPub }, null);
    return this.#insert({ ...user, signPub }, await checkKexKey(signPub, kexPub, kexSig));
  }

  async admit(user: NewUser & KexKey): Promise<UserRecord> {
    return this.#insert(user, user);
  }

  async #insert({ signPub, handle, role }: NewUser, kex: KexKey | null): Promise<UserRecord> {
    const record: UserRecord = {
      ...{ signPub, endpoint: endpointId(signPub), handle, role },
      ...{ kexPub: kex?.kexPub ?? null, kexSig: kex?.kexSig ?? null },
      ...{ status: "active" as const, createdAt: this.#now(), revokedAt: null, revision: 0 },
    };
    await this.#store.insertUser(record);
    if (role === "admin") await this.#enlist(signPub);
    return record;
  }

  /** Puts a new admin in the roster. */
  async #enlist(signPub: string): Promise<void> {
    await this.#joinRoster(signPub);
    // A concurrent revocation may have looked for the new admin in the roster before the admin was in it.
    if ((await this.#store.getUser(signPub))?.status !== "active") await this.#quitRoster(signPub);
  }

  async rename(signPub: string, given: string): Promise<string> {
    const handle = checkHandle(given);
    const { endpoint } = await this.#found(signPub);
    await untilWon(async () => {
      const current = await this.#found(signPub);
      return current.handle === handle || (await this.#store.replaceUser({ ...current, handle })) || undefined;
    });
    const rooms = this.#rooms;
    if (rooms === undefined) return handle;
    for (const { room, stay } of await rooms.listRoomsOf(endpoint)) {
      await changeStay(rooms, { roomId: room.roomId, endpoint, known: stay }, renamed(handle));
    }
    return handle;
  }

  async revoke(signPub: string, { keepAdmin }: { readonly keepAdmin: boolean }): Promise<void> {
    const user = await this.#leaving(signPub, keepAdmin);
    if (user.status !== "revoked") await this.#denials?.note("user-revoked", user.signPub);
    await this.#takeAccess(user);
    this.#notices.notify([user.endpoint], "revoked", null);
  }

  async restore(signPub: string): Promise<void> {
    const user = await this.#found(signPub);
    if (user.status === "revoked") {
      // The revocation may have been interrupted: no membership from before it may come back to life.
      await this.#leaveRooms(user.endpoint);
      await untilWon(async () => {
        const current = await this.#found(signPub);
        if (current.status === "active") return true;
        return (await this.#store.replaceUser({ ...current, status: "active", revokedAt: null })) || undefined;
      });
      // Afterwards: without this line, restoring a backup revokes the user again, which is the safe mistake.
      await this.#denials?.note("user-restored", user.signPub);
    }
    if (user.role === "admin") await this.#enlist(user.signPub);
  }

  async remove(signPub: string, { keepAdmin }: { readonly keepAdmin: boolean }): Promise<void> {
    const user = await this.#leaving(signPub, keepAdmin);
    await this.#denials?.note("user-deleted", user.signPub);
    // Delete the user last: while the user exists, an interrupted deletion can be requested again.
    await this.#takeAccess(user);
    await this.#store.deleteUser(user.signPub);
    this.#notices.notify([user.endpoint], "revoked", null);
  }

  list(after: string | null, limit: number): Promise<UserRecord[]> {
    return this.#store.listUsers(after, limit);
  }

  async #found(signPub: string): Promise<UserRecord> {
    const user = await this.#store.getUser(normalKey(signPub));
    if (user === null) throw new UnibusError("not_found", "no such user (see GET /users)");
    return user;
  }

  /** The roster drops an admin before the user changes, and gains one only after, so it lists only real admins. */
  async #leaving(signPub: string, keepAdmin: boolean): Promise<UserRecord> {
    const user = await this.#found(signPub);
    if (user.role !== "admin" || user.status !== "active") return user;
    await untilWon(async () => {
      const { admins, revision } = await this.#store.getRoster();
      if (!admins.includes(user.signPub)) return true;
      const left = admins.filter((admin) => admin !== user.signPub);
      if (keepAdmin && left.length === 0) {
        throw new UnibusError(
          "conflict",
          "the last active admin cannot be revoked or removed (make another admin first)",
        );
      }
      return (await this.#store.replaceRoster({ admins: left, revision })) || undefined;
    });
    return user;
  }

  /** Marks a user as revoked and as having left every room. The first step already ends all access. */
  async #takeAccess({ signPub, endpoint, role }: UserRecord): Promise<void> {
    await untilWon(async () => {
      const current = await this.#found(signPub);
      if (current.status === "revoked") return true;
      const revoked = { ...current, status: "revoked" as const, revokedAt: this.#now() };
      return (await this.#store.replaceUser(revoked)) || undefined;
    });
    // The request that added this admin may have put them in the roster after that was read.
    if (role === "admin") await this.#quitRoster(signPub);
    await this.#leaveRooms(endpoint);
  }

  async #quitRoster(signPub: string): Promise<void> {
    await untilWon(async () => {
      const { admins, revision } = await this.#store.getRoster();
      if (!admins.includes(signPub)) return true;
      const left = admins.filter((admin) => admin !== signPub);
      return (await this.#store.replaceRoster({ admins: left, revision })) || undefined;
    });
  }

  async #joinRoster(signPub: string): Promise<void> {
    await untilWon(async () => {
      const { admins, revision } = await this.#store.getRoster();
      if (admins.includes(signPub)) return true;
      return (await this.#store.replaceRoster({ admins: [...admins, signPub], revision })) || undefined;
    });
  }

  /** Access ended with the user. The mark and the notice make the rooms' owners sign the user out and rekey. */
  async #leaveRooms(endpoint: string): Promise<void> {
    const rooms = this.#rooms;
    if (rooms === undefined) return;
    const memberships = await rooms.listRoomsOf(endpoint);
    // The user may be restored later, which ends the effect of the user's own denial; these lines stay in force.
    const keys = memberships.map(({ room, stay }) => stayDenialKey(room.roomId, endpoint, stay.since));
    await Promise.all(keys.map((key) => this.#denials?.note("left", key)));
    for (const { room, stay } of memberships) {
      await changeStay(rooms, { roomId: room.roomId, endpoint, known: stay }, leaving(this.#now()));
      const owners = (await rooms.listStays(room.roomId)).filter(isOwnerIn);
      const endpoints = owners.map((owner) => owner.endpoint);
      this.#notices.notify(endpoints, "rekey_pending", room.roomId);
      if (room.policy.persist) this.#streams?.settle(room);
    }
  }
}

/** Stores a user's kex key, once. Errors: invalid; conflict if the user has a different one. */
export async function setKexKey(store: UserStore, signPub: string, kexPub: string, kexSig: string): Promise<void> {
  const kex = await checkKexKey(signPub, kexPub, kexSig);
  await untilWon(async () => {
    const user = await store.getUser(signPub);
    if (user === null) throw new UnibusError("not_found", "no such user (ask an admin)");
    if (user.kexPub === kex.kexPub) return true;
    if (user.kexPub !== null) {
      throw new UnibusError(
        "conflict",
        "this user already has another kex_pub, which never changes (use that identity)",
      );
    }
    return (await store.replaceUser({ ...user, ...kex })) || undefined;
  });
}
