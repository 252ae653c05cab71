import type { InviteRecord, InviteStore } from "../../contracts/store.ts";
import { UnibusError } from "../../wire/errors.ts";
import type { Database } from "./database.ts";

const columns = `id, token_hash AS tokenHash, handle, role, expires_at AS expiresAt, created_at AS createdAt,
  used_at AS usedAt, used_sign_pub AS usedSignPub, used_kex_pub AS usedKexPub, completed_at AS completedAt`;

/** Selects every invite by id. */
export const selectInvites = `SELECT ${columns} FROM invites ORDER BY id`;

/** Inserts an invite. The caller prepends the conflict clause (`INSERT OR IGNORE`, `INSERT OR REPLACE`). */
export const insertInviteSql = `INTO invites
  (id, token_hash, handle, role, expires_at, created_at, used, used_at, used_sign_pub, used_kex_pub, completed_at)
  VALUES ($id, $tokenHash, $handle, $role, $expiresAt, $createdAt, $usedAt IS NOT NULL, $usedAt, $usedSignPub,
    $usedKexPub, $completedAt)`;

/** An invite as SQL parameters. */
export type InviteBinding = Pick<InviteRecord, keyof InviteRecord>;

/** Implements the invite store in SQLite. */
export function createInvites({ native, read, write }: Database): InviteStore {
  const insert = native.prepare<never, [InviteBinding]>(`INSERT OR IGNORE ${insertInviteSql}`);
  const byId = native.prepare<InviteRecord, [string]>(`SELECT ${columns} FROM invites WHERE id = ?`);
  const claim = native.prepare<never, [number, string, string, string]>(
    "UPDATE invites SET used = 1, used_at = ?, used_sign_pub = ?, used_kex_pub = ? WHERE id = ? AND used = 0",
  );
  const remove = native.prepare<never, [string]>("DELETE FROM invites WHERE id = ? AND used = 0");
  const complete = native.prepare<never, [number, string]>(
    "UPDATE invites SET completed_at = ? WHERE id = ? AND used = 1 AND completed_at IS NULL",
  );
  const countPending = native.prepare<{ count: number }, []>("SELECT count(*) AS count FROM invites WHERE used = 0");
  const pending = native.prepare<InviteRecord, [number]>(
    `SELECT ${columns} FROM invites WHERE used = 0 ORDER BY created_at, id LIMIT ?`,
  );

  return {
    commitsTogether: true,
    insertInvite(invite, pendingMax = Number.POSITIVE_INFINITY) {
      return write(() => {
        if (invite.usedAt === null && (countPending.get()?.count ?? 0) >= pendingMax) return false;
        if (insert.run({ ...invite }).changes === 1) return true;
        throw new UnibusError("conflict", `invite ${invite.id} already exists (create another token)`);
      });
    },
    async getInvite(id) {
      return read(() => byId.get(id));
    },
    claimInvite(id, { signPub, kexPub, at }) {
      return write(() => claim.run(at, signPub, kexPub, id).changes === 1);
    },
    completeInvite(id, at) {
      return write(() => complete.run(at, id).changes === 1);
    },
    deleteInvite(id) {
      return write(() => remove.run(id).changes === 1);
    },
    async listPendingInvites(limit) {
      return read(() => pending.all(limit));
    },
  };
}
