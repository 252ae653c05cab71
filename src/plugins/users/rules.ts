import { checkKexKey, checkSignKey } from "../../contracts/signature.ts";
import type { RoomStore, UserRecord, UserStore } from "../../contracts/store.ts";
import type { NewUser, Users } from "../../contracts/users.ts";
import { UnibusError } from "../../wire/errors.ts";
import { endpointId, normalKey } from "../../wire/names.ts";

/** How many users one read of the store brings. */
const pageSize = 1_000;
/** How often a lost race is run again before the store counts as too busy. */
const attemptsMax = 100;

/** Runs `attempt` until it wins its race. Errors: unavailable when it never does. */
async function untilWon<T>(attempt: () => Promise<T | undefined>): Promise<T> {
  for (let i = 0; i < attemptsMax; i++) {
    const result = await attempt();
    if (result !== undefined) return result;
  }
  throw new UnibusError("unavailable", "too many changes at once (try again)");
}

/** The rules about users over a store; `rooms` where there are any. */
export function userRules(store: UserStore, rooms: RoomStore | undefined, now: () => number): Users {
  const found = async (signPub: string): Promise<UserRecord> => {
    const user = await store.getUser(normalKey(signPub));
    if (user === null) throw new UnibusError("not_found", "there is no such user (see the list of users)");
    return user;
  };

  /** The roster is changed before an admin goes, and after one comes: at every moment it names only real admins. */
  const joinRoster = (signPub: string): Promise<true> =>
    untilWon(async () => {
      const { admins, revision } = await store.getRoster();
      if (admins.includes(signPub)) return true;
      return (await store.replaceRoster({ admins: [...admins, signPub], revision })) || undefined;
    });

  const leaveRoster = (signPub: string, keepAdmin: boolean): Promise<true> =>
    untilWon(async () => {
      const { admins, revision } = await store.getRoster();
      if (!admins.includes(signPub)) return true;
      const left = admins.filter((admin) => admin !== signPub);
      if (keepAdmin && left.length === 0) {
        throw new UnibusError("conflict", "this is the last active admin (make another one first)");
      }
      return (await store.replaceRoster({ admins: left, revision })) || undefined;
    });

  /** Access went with the user; the mark tells the rooms' owners to sign the user out. */
  const leaveRooms = async (endpoint: string): Promise<void> => {
    for (const { room } of (await rooms?.listRoomsOf(endpoint)) ?? []) await rooms?.markLeft(room.roomId, endpoint);
  };

  return {
    async add(user: NewUser) {
      const signPub = checkSignKey(user.signPub);
      if ((user.kexPub === undefined) !== (user.kexSig === undefined)) {
        throw new UnibusError("invalid", "kex_pub and kex_sig go together (send both or none)");
      }
      const kex =
        user.kexPub === undefined || user.kexSig === undefined
          ? { kexPub: null, kexSig: null }
          : await checkKexKey(signPub, user.kexPub, user.kexSig);
      const record: UserRecord = {
        signPub,
        endpoint: endpointId(signPub),
        ...kex,
        handle: user.handle,
        role: user.role,
        status: "active",
        createdAt: now(),
        revokedAt: null,
        revision: 0,
      };
      await store.insertUser(record);
      if (user.role === "admin") await joinRoster(signPub);
      return record;
    },

    async revoke(signPub, { keepAdmin }) {
      const user = await found(signPub);
      if (user.role === "admin" && user.status === "active") await leaveRoster(user.signPub, keepAdmin);
      await untilWon(async () => {
        const current = await found(signPub);
        if (current.status === "revoked") return true;
        return (await store.replaceUser({ ...current, status: "revoked", revokedAt: now() })) || undefined;
      });
      await leaveRooms(user.endpoint);
    },

    async remove(signPub, { keepAdmin }) {
      const user = await found(signPub);
      if (user.role === "admin" && user.status === "active") await leaveRoster(user.signPub, keepAdmin);
      await store.deleteUser(user.signPub);
      await leaveRooms(user.endpoint);
    },

    async list() {
      const all: UserRecord[] = [];
      for (let after: string | null = null; ; ) {
        const page: UserRecord[] = await store.listUsers(after, pageSize);
        all.push(...page);
        const last = page.at(-1);
        if (last === undefined || page.length < pageSize) return all;
        after = last.signPub;
      }
    },
  };
}

/** Stores a user's kex key, once. Errors: invalid; conflict when another is there. */
export async function setKexKey(store: UserStore, signPub: string, kexPub: string, kexSig: string): Promise<void> {
  const kex = await checkKexKey(signPub, kexPub, kexSig);
  await untilWon(async () => {
    const user = await store.getUser(signPub);
    if (user === null) throw new UnibusError("not_found", "there is no such user (ask an admin)");
    if (user.kexPub === kex.kexPub) return true;
    if (user.kexPub !== null) {
      throw new UnibusError("conflict", "this user has another kex_pub, and it never changes (use its identity)");
    }
    return (await store.replaceUser({ ...user, ...kex })) || undefined;
  });
}
