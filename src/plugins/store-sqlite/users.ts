import type { AdminRoster, UserRecord, UserStore } from "../../contracts/store.ts";
import { UnibusError } from "../../wire/errors.ts";
import type { Database } from "./database.ts";
import { type LooksBinding, looksBinding } from "./looks.ts";

const columns = `sign_pub AS signPub, endpoint, kex_pub AS kexPub, kex_sig AS kexSig, handle, role, status,
  created_at AS createdAt, revoked_at AS revokedAt, revision`;

/** Selects every user by key. */
export const selectUsers = `SELECT ${columns} FROM users ORDER BY sign_pub`;

const activePageSql = "status = 'active' AND endpoint > ? ORDER BY endpoint LIMIT ?";

/** Selects active users after an endpoint: all of them, or those with one of two looks. */
export const activeUsersSql = {
  all: `SELECT ${columns} FROM users WHERE ${activePageSql}`,
  byLooks: `SELECT ${columns} FROM users WHERE (look1 = ? OR look2 = ?) AND ${activePageSql}`,
} as const;

/**
 * Inserts a user, without the given revision.
 * The first revision is random, so that a record that is deleted and inserted again never matches the earlier one.
 */
export const insertUserSql = `INSERT INTO users
  (sign_pub, endpoint, kex_pub, kex_sig, handle, look1, look2, looks_version, role, status, created_at, revoked_at,
    revision)
  VALUES ($signPub, $endpoint, $kexPub, $kexSig, $handle, $look1, $look2, $looksVersion, $role, $status, $createdAt,
    $revokedAt, 1 + abs(random() % 1000000000000))`;

/** The assignments that update a user. The key and the endpoint never change. */
export const userChanges = `kex_pub = $kexPub, kex_sig = $kexSig, handle = $handle, look1 = $look1, look2 = $look2,
  looks_version = $looksVersion, role = $role, status = $status, created_at = $createdAt, revoked_at = $revokedAt,
  revision = revision + 1`;

/** A user as SQL parameters. */
export type UserBinding = Omit<UserRecord, "revision"> & LooksBinding;

/** The SQL parameters of a user, including the looks of the handle. */
export function userBinding({ revision: _, ...user }: UserRecord): UserBinding {
  return { ...user, ...looksBinding(user.handle) };
}

/** Implements the user store in SQLite. */
export function createUsers({ native, read, write }: Database): UserStore {
  const byKey = native.prepare<UserRecord, [string]>(`SELECT ${columns} FROM users WHERE sign_pub = ?`);
  const byEndpoint = native.prepare<UserRecord, [string]>(`SELECT ${columns} FROM users WHERE endpoint = ?`);
  const insert = native.prepare<never, [UserBinding]>(`${insertUserSql} ON CONFLICT DO NOTHING`);
  const replace = native.prepare<never, [Omit<UserRecord, "endpoint"> & LooksBinding]>(
    `UPDATE users SET ${userChanges} WHERE sign_pub = $signPub AND revision = $revision`,
  );
  const remove = native.prepare<never, [string]>("DELETE FROM users WHERE sign_pub = ?");
  const page = native.prepare<UserRecord, [string, number]>(
    `SELECT ${columns} FROM users WHERE sign_pub > ? ORDER BY sign_pub LIMIT ?`,
  );
  const activePage = native.prepare<UserRecord, [string, number]>(activeUsersSql.all);
  const lookPage = native.prepare<UserRecord, [string, string, string, number]>(activeUsersSql.byLooks);
  const roster = native.prepare<{ admins: string; revision: number }, []>("SELECT admins, revision FROM roster");
  const replaceRoster = native.prepare<never, [string, number]>(
    "UPDATE roster SET admins = ?, revision = revision + 1 WHERE revision = ?",
  );

  return {
    async getUser(signPub) {
      return read(() => byKey.get(signPub));
    },
    async getUserByEndpoint(endpoint) {
      return read(() => byEndpoint.get(endpoint));
    },
    insertUser(user) {
      return write(() => {
        if (insert.run(userBinding(user)).changes === 1) return;
        throw new UnibusError("conflict", `the key ${user.signPub} already belongs to a user (change that one)`);
      });
    },
    replaceUser({ endpoint: _, ...user }) {
      return write(() => replace.run({ ...user, ...looksBinding(user.handle) }).changes === 1);
    },
    deleteUser(signPub) {
      return write(() => remove.run(signPub).changes === 1);
    },
    async listUsers(after, limit) {
      return read(() => page.all(after ?? "", limit));
    },
    async listActive({ looks, after, limit }) {
      if (looks === undefined) return read(() => activePage.all(after ?? "", limit));
      return read(() => lookPage.all(looks.look1, looks.look2, after ?? "", limit));
    },
    async getRoster(): Promise<AdminRoster> {
      const row = await read(() => roster.get());
      return { admins: JSON.parse(row?.admins ?? "[]"), revision: row?.revision ?? 0 };
    },
    replaceRoster({ admins, revision }) {
      return write(() => replaceRoster.run(JSON.stringify(admins), revision).changes === 1);
    },
  };
}
