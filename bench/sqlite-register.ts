/** Benchmark: the two durable steps of a registration and its signature check, compared with bare commits. */
import { Database } from "bun:sqlite";
import { generateIdentity, type Identity } from "../src/client/crypto/identity.ts";
import { checkKexKey } from "../src/contracts/signature.ts";
import type { InviteRecord } from "../src/contracts/store.ts";
import { openSqliteStore } from "../src/plugins/store-sqlite/store.ts";
import { Folder } from "../test/support/executable.ts";
import { each, quantile, timed } from "./support/measure.ts";
import { workload } from "./workload.ts";

const inFlight = 32;
const people = 10_000;
const commits = 5_000;

const inviteOf = (index: number, now: number): InviteRecord => ({
  id: `invite${index}`,
  tokenHash: index.toString(16).padStart(64, "0"),
  handle: `user${index}`,
  role: "member",
  expiresAt: now + 3_600_000,
  createdAt: now,
  usedAt: null,
  usedSignPub: null,
  usedKexPub: null,
  completedAt: null,
});

async function register(
  store: ReturnType<typeof openSqliteStore>,
  { signPubHex: signPub, kexPubHex, kexSig, endpoint }: Identity,
  index: number,
): Promise<void> {
  const { kexPub } = await checkKexKey(signPub, kexPubHex, kexSig);
  const at = Date.now();
  if (!(await store.invites.claimInvite(`invite${index}`, { signPub, kexPub, at }))) throw new Error("not claimed");
  await store.users.insertUser({
    ...{ signPub, endpoint, kexPub, kexSig, handle: `user${index}`, role: "member", status: "active" },
    ...{ createdAt: at, revokedAt: null, revision: 0 },
  });
}

/** Measures how many one-row commits per second SQLite makes sequentially with synchronous FULL. */
export async function bareCommits(file: string): Promise<number> {
  const database = new Database(file, { create: true });
  database.run("PRAGMA journal_mode = WAL");
  database.run("PRAGMA synchronous = FULL");
  database.run("CREATE TABLE rows (body TEXT)");
  const insert = database.prepare("INSERT INTO rows VALUES (?)");
  const tookMs = await timed(() => {
    for (let index = 0; index < commits; index++) insert.run("x".repeat(300));
  });
  database.close(true);
  return commits / (tookMs / 1000);
}

async function measure() {
  using folder = new Folder();
  const store = openSqliteStore({ file: folder.file("unibus.db"), now: Date.now });
  try {
    const identities: Identity[] = [];
    for (let index = 0; index < people; index++) identities.push(await generateIdentity());
    const now = Date.now();
    await each(people, 500, (index) => store.invites.insertInvite(inviteOf(index, now)));
    const taken: number[] = [];
    const tookMs = await timed(() =>
      each(people, inFlight, async (index) => {
        taken.push(await timed(() => register(store, identities[index] as Identity, index)));
      }),
    );
    const limit = await bareCommits(folder.file("bare.db"));
    return { rate: { value: people / (tookMs / 1000), limit }, p99: { value: quantile(taken, 0.99) } };
  } finally {
    store.close();
  }
}

/** Measures how many people can join at once. */
export const sqliteRegister = workload({
  name: "sqlite-register",
  goal: { rate: { unit: "/s", atLeast: 6_000 }, p99: { unit: "ms", atMost: 10 } },
  recipe:
    `one signature check, one claim, one insert for each of ${people} people, ${inFlight} in flight, at the store, with ` +
    `synchronous FULL; limit: ${commits} bare SQLite commits of one row, one after the other`,
  run: measure,
});
