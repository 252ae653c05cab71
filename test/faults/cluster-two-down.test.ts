/** Two of three nodes are down: the third admits no client, loses nothing and recovers by itself. */
import { expect, test } from "bun:test";
import { generateIdentity } from "../../src/client/crypto/identity.ts";
import { invite, register } from "../support/accounts.ts";
import { readiness } from "../support/cluster.ts";
import { until } from "../support/executable.ts";
import { castOf } from "../support/inside.ts";
import {
  addMembers,
  at,
  call,
  createBody,
  createRoom,
  dial,
  freshSubject,
  history,
  newRoom,
  policy,
} from "../support/peer.ts";
import { loginOf, RawNats } from "../support/raw-nats.ts";
import { Nodes } from "./chaos/nodes.ts";
import { published } from "./chaos/scene.ts";

/** The leader lease plus the time to detect that it has expired, at most. */
const denyMsMax = 10_000;
/** How often every request is repeated. */
const turns = 12;
const frames = 30;

for (const signal of ["killed", "halted"] as const) {
  test(`while two nodes are ${signal}, requests get 401 or 503, no login succeeds, and the cluster recovers by itself`, async () => {
    await using nodes = await Nodes.start({ linked: true });
    const { admin, ana, bob } = await castOf(nodes.at(0), "ana", "bob");
    const room = await addMembers(nodes.at(0), await createRoom(nodes.at(0), ana, policy("persist")), bob);
    const writer = await dial(nodes.at(0), ana);
    for (let n = 0; n < frames; n++) await writer.request(room.state.subject, `${n}`);
    const { token } = await invite(nodes.at(0), admin, { handle: "carl" });
    await writer.close();

    // Keeps the leader running: it is the node that might continue as if nothing had happened.
    const lone = await nodes.leaderOf("UNIBUS_users");
    const gone = [0, 1, 2].filter((node) => node !== lone);
    for (const node of gone) signal === "killed" ? await nodes.kill(node) : nodes.halt(node);
    const url = nodes.url(lone);
    const status = async (...request: Parameters<typeof call> extends [string, ...infer R] ? R : never) =>
      (await call(url, ...request)).status;
    await until("requests are denied", async () => (await status(ana, "GET", "/directory")) === 503, denyMsMax);
    await until("the node is not ready", async () => (await readiness(nodes.at(lone))).status === 503);
    const stranger = await generateIdentity();
    const outcomes = new Map<string, Set<number>>();
    const login = async (user: typeof ana): Promise<number> => {
      using raw = await RawNats.open(nodes.nats(lone));
      const host = new URL(nodes.nats(lone)).hostname;
      return (await raw.login(loginOf(user, raw, { host }))) === "" ? 200 : 401;
    };
    for (let turn = 0; turn < turns; turn++) {
      const asked: Record<string, Promise<number>> = {
        directory: status(ana, "GET", "/directory"),
        room: status(ana, "GET", at(room)),
        history: status(bob, "GET", at(room, "/history")),
        create: status(ana, "POST", "/rooms", createBody(newRoom(ana, freshSubject(), policy()))),
        admin: status(admin, "GET", "/users"),
        stranger: status(stranger, "GET", "/directory"),
        register: register(url, token, stranger).then((reply) => reply.status),
        login: login(ana),
      };
      for (const [what, answer] of Object.entries(asked)) {
        outcomes.set(what, (outcomes.get(what) ?? new Set()).add(await answer));
      }
    }
    // An unknown user may still be refused with 401: a moment ago it was certain that the store has no such key.
    for (const status of outcomes.get("stranger") ?? []) expect([401, 503]).toContain(status);
    outcomes.delete("stranger");
    const found = Object.fromEntries([...outcomes].map(([what, set]) => [what, [...set].sort()]));
    expect(found).toEqual({
      ...{ directory: [503], room: [503], history: [503], create: [503], admin: [503] },
      ...{ register: [503], login: [401] },
    });
    expect((await fetch(`${url}/healthz`)).status).toBe(200);

    const [back] = gone;
    if (back === undefined) throw new Error("no node is down");
    signal === "killed" ? await nodes.boot(back) : nodes.resume(back);
    await until("two nodes are ready", async () => (await status(ana, "GET", "/directory")) === 200, 60_000);
    await until("the node is ready", async () => (await readiness(nodes.at(lone))).status === 200, 60_000);
    for (const node of [lone, back]) {
      // A room's stream elects its leader independently, and a busy machine may need a second read.
      let read: Buffer[] = [];
      await until("the history can be read again", async () => {
        if ((await call(nodes.url(node), bob, "GET", at(room, "/history?limit=1"))).status !== 200) return false;
        read = await history(nodes.at(node), bob, room, "?limit=1000").catch(() => []);
        return read.length > 0;
      });
      expect(read.map(String)).toEqual(Array.from({ length: frames }, (_, n) => `${n}`));
    }
    const again = await dial(nodes.at(lone), ana);
    await until(
      "messages are stored again",
      async () => (await published(again, room.state.subject, "again", 2_000)) !== null,
    );
    await again.close();
  }, 180_000);
}
