/** Benchmark: registrations by the rules over SQLite (one signature check, two durable steps), and over HTTP. */
import { randomBytes } from "node:crypto";
import { generateIdentity, type Identity } from "../src/client/crypto/identity.ts";
import { Notices } from "../src/contracts/notices.ts";
import type { InviteRecord, InviteStore } from "../src/contracts/store.ts";
import { InviteRules } from "../src/plugins/invites/rules.ts";
import { openSqliteStore } from "../src/plugins/store-sqlite/store.ts";
import { UserRules } from "../src/plugins/users/rules.ts";
import { sha256Hex } from "../src/wire/encoding.ts";
import { Folder, type Server } from "../test/support/executable.ts";
import { bareCommits } from "./sqlite-register.ts";
import { startBus } from "./support/bus.ts";
import type { LoadResult } from "./support/load.ts";
import { each, median, quantile, timed } from "./support/measure.ts";
import type { RegisterJob } from "./support/register-load.ts";
import { workload } from "./workload.ts";

const inFlight = 32;
const rounds = 5;
const people = { warmUp: 1_000, measured: 4_000 } as const;

function inviteOf(token: string, at: number): InviteRecord {
  const tokenHash = sha256Hex(token);
  return {
    ...{ id: tokenHash.slice(0, 32), tokenHash, handle: "guest", role: "member", createdAt: at },
    ...{ expiresAt: at + 3_600_000, usedAt: null, usedSignPub: null, usedKexPub: null, completedAt: null },
  };
}

/** Writes invites directly into a store: more than the rules allow to be pending. */
async function makeTokens(invites: InviteStore, count: number): Promise<string[]> {
  const tokens = Array.from({ length: count }, () => randomBytes(32).toString("hex"));
  await each(count, 500, (index) => invites.insertInvite(inviteOf(tokens[index] ?? "", Date.now())));
  return tokens;
}

/** Redeems fresh invites through the rules, in this process. */
async function byRules(folder: Folder, index: number, count: number): Promise<LoadResult> {
  const now = Date.now;
  const store = openSqliteStore({ file: folder.file(`rules${index}.db`), now });
  try {
    const users = new UserRules({ store: store.users, rooms: store.rooms, notices: new Notices(undefined), now });
    const rules = new InviteRules({ store: store.invites, userStore: store.users, users, now });
    const tokens = await makeTokens(store.invites, count);
    const crowd: Identity[] = [];
    for (let i = 0; i < count; i++) crowd.push(await generateIdentity());
    const taken: number[] = [];
    const tookMs = await timed(() =>
      each(count, inFlight, async (i) => {
        const { signPubHex: signPub, kexPubHex: kexPub, kexSig } = crowd[i] as Identity;
        taken.push(await timed(() => rules.redeem({ token: tokens[i] ?? "", signPub, kexPub, kexSig })));
      }),
    );
    return { perSecond: count / (tookMs / 1_000), p99Ms: quantile(taken, 0.99) };
  } finally {
    store.close();
  }
}

/** Redeems fresh invites at a running server, from a separate process. */
async function overHttp(server: Server, count: number): Promise<LoadResult> {
  const { hostname, port } = new URL(server.ready.http);
  const store = openSqliteStore({ file: server.folder.file("data", "unibus.db") });
  const tokens = await makeTokens(store.invites, count).finally(() => store.close());
  const job: RegisterJob = { hostname, port: Number(port), inFlight, tokens };
  const script = `${import.meta.dir}/support/register-load.ts`;
  const child = Bun.spawn([process.execPath, script], { stdin: new Blob([JSON.stringify(job)]), stdout: "pipe" });
  const said = await new Response(child.stdout).text();
  if ((await child.exited) !== 0) throw new Error("the load could not be sent");
  return JSON.parse(said) as LoadResult;
}

async function measure() {
  using folder = new Folder();
  await using server = await startBus();
  await byRules(folder, 0, people.warmUp);
  await overHttp(server, people.warmUp);
  const rules: LoadResult[] = [];
  const http: LoadResult[] = [];
  const limits: number[] = [];
  for (let round = 1; round <= rounds; round++) {
    rules.push(await byRules(folder, round, people.measured));
    http.push(await overHttp(server, people.measured));
    limits.push(await bareCommits(folder.file(`bare${round}.db`)));
  }
  const rateOf = (results: readonly LoadResult[]) => median(results.map(({ perSecond }) => perSecond));
  return {
    rate: { value: rateOf(rules), limit: median(limits) },
    p99: { value: median(rules.map(({ p99Ms }) => p99Ms)) },
    "over HTTP": { value: rateOf(http) },
  };
}

/** Measures how many people can join at once. */
export const register = workload({
  name: "register",
  goal: { rate: { unit: "/s", atLeast: 6_000 }, p99: { unit: "ms", atMost: 10 }, "over HTTP": { unit: "/s" } },
  recipe:
    `the rules of POST /register over SQLite with synchronous FULL, ${inFlight} in flight, median of ${rounds} rounds of ` +
    `${people.measured} people; limit: bare commits of one row, one after the other, in the same run; over HTTP: the ` +
    "executable, asked by another process on the same machine",
  run: measure,
});
