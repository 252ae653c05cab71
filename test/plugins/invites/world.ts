/** Invites and users over SQLite, in this process, with a fake clock. */
import { generateIdentity, type Identity } from "../../../src/client/crypto/identity.ts";
import type { Redeemer } from "../../../src/contracts/invites.ts";
import { Notices } from "../../../src/contracts/notices.ts";
import type { InviteStore } from "../../../src/contracts/store.ts";
import { InviteRules } from "../../../src/plugins/invites/rules.ts";
import { openSqliteStore, type SqliteStore } from "../../../src/plugins/store-sqlite/store.ts";
import { UserRules } from "../../../src/plugins/users/rules.ts";
import { type ErrorCode, isUnibusError } from "../../../src/wire/errors.ts";
import { withFile } from "../store-sqlite/folder.ts";

/** The start time of every test, in milliseconds. */
export const startMs = 1_750_000_000_000;

/** What a test works with. */
export interface World {
  readonly file: string;
  readonly store: SqliteStore;
  readonly users: UserRules;
  readonly invites: InviteRules;
  /** Advances the clock. */
  pass(ms: number): void;
  /** The invite rules over the store with some calls replaced. */
  over(changed: Partial<InviteStore>): InviteRules;
}

/** Runs a test with its own world. */
export function inWorld(work: (world: World) => Promise<void>): () => Promise<void> {
  return () =>
    withFile(async (file) => {
      let nowMs = startMs;
      const now = () => nowMs;
      const store = openSqliteStore({ file, now });
      const users = new UserRules({ store: store.users, rooms: store.rooms, notices: new Notices(undefined), now });
      const over = (changed: Partial<InviteStore>) =>
        new InviteRules({ store: { ...store.invites, ...changed }, userStore: store.users, users, now });
      const pass = (ms: number) => {
        nowMs += ms;
      };
      try {
        await work({ file, store, users, invites: over({}), over, pass });
      } finally {
        store.close();
      }
    });
}

/** A person that redeems a token. */
export function holder(token: string, { signPubHex, kexPubHex, kexSig }: Identity): Redeemer {
  return { token, signPub: signPubHex, kexPub: kexPubHex, kexSig };
}

/** Fresh identities. */
export function people(count: number): Promise<Identity[]> {
  return Promise.all(Array.from({ length: count }, () => generateIdentity()));
}

/** Two fresh identities. */
export async function pair(): Promise<readonly [Identity, Identity]> {
  return [await generateIdentity(), await generateIdentity()];
}

/** Outcome of some work: `done`, or the code of its refusal. Any other error fails the test. */
export async function outcome(work: Promise<unknown>): Promise<ErrorCode | "done"> {
  try {
    await work;
    return "done";
  } catch (error) {
    if (isUnibusError(error)) return error.code;
    throw error;
  }
}
