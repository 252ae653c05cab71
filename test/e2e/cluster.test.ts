/**
 * Three nodes as one bus, as users and operators see them: logins, messages, revocations and kicks across nodes, the
 * loss of one node, and changing the number of stream replicas. Source: docs/protocol/logins.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { streamName } from "../../src/wire/names.ts";
import { areReady, Cluster, readiness, statusAt } from "../support/cluster.ts";
import { unibus, until } from "../support/executable.ts";
import { type Cast, castOf, inside, jetStream, streamState } from "../support/inside.ts";
import { addMembers, addUser, call, createRoom, dial, history, kick, policy, postUser } from "../support/peer.ts";
import { loginOf, pub, RawNats } from "../support/raw-nats.ts";

/** A peer's connection on a raw socket, which shows at once that the server disconnected it. */
async function rawPeerAt(url: string, user: Parameters<typeof loginOf>[0]): Promise<RawNats> {
  const raw = await RawNats.open(url);
  expect(await raw.login(loginOf(user, raw))).toBe("");
  return raw;
}

const natsServer = resolve(import.meta.dir, "../../.cache/nats-server/nats-server");
const natsPidFile = (cluster: Cluster, index: number) => cluster.folder(index).file("data", "nats", "nats.pid");

describe("three nodes that start at once", () => {
  let cluster: Cluster;
  let people: Cast<"ana" | "bob">;

  beforeAll(async () => {
    cluster = await Cluster.start();
    people = await castOf(cluster.node(0), "ana", "bob");
  }, 60_000);
  afterAll(() => cluster[Symbol.asyncDispose]());

  test("become ready, know each other, and report their cluster", async () => {
    await until("all nodes are ready", () => areReady(cluster));
    for (const server of cluster.nodes) {
      const { plugins } = await readiness(server);
      expect(plugins["nats-embedded"]).toEqual({ ok: true, detail: "3 of 3 nodes are connected" });
      const { json } = await call(server.ready.http, null, "GET", "/healthz");
      expect(json.posture).toMatchObject({ cluster: "test", store: "kv", auth: "enforce" });
    }
  });

  test("share their users, who can log in everywhere", async () => {
    const carl = await addUser(cluster.node(2), "carl");
    expect(await statusAt(cluster, carl)).toEqual([200, 200, 200]);
    for (const { ready } of cluster.nodes) (await rawPeerAt(ready.nats, carl))[Symbol.dispose]();
  });

  test("forward messages of one node to the others, store them, and return them everywhere", async () => {
    const [here, there] = [cluster.node(0), cluster.node(1)];
    const room = await addMembers(here, await createRoom(here, people.ana, policy("persist")), people.bob);
    const [ana, bob] = await Promise.all([dial(here, people.ana), dial(there, people.bob)]);
    const heard: string[] = [];
    bob.subscribe(room.state.subject, { callback: (_, message) => heard.push(message.string()) });
    await bob.flush();
    await until("the subscription reached the other node", async () => {
      const ack = (await ana.request(room.state.subject, "hello")).json<{ stream: string }>();
      expect(ack.stream).toBe(streamName(room.state.roomId));
      return heard.length > 0;
    });
    for (const server of cluster.nodes) {
      const read = await history(server, people.bob, room);
      expect(read[0]?.toString()).toBe("hello");
    }
    await Promise.all([ana.close(), bob.close()]);
  });

  test("disconnect a user at once who was removed on another node", async () => {
    const [here, there] = [cluster.node(0), cluster.node(1)];
    const room = await addMembers(here, await createRoom(here, people.ana, policy("persist")), people.bob);
    using bob = await rawPeerAt(there.ready.nats, people.bob);
    using ana = await rawPeerAt(there.ready.nats, people.ana);
    await kick(here, room, people.bob, people.ana);
    await until("bob is disconnected", () => bob.isClosed, 1_000);
    expect(await ana.exchange()).toContain("PONG");
    using again = await rawPeerAt(there.ready.nats, people.bob);
    expect(await again.exchange(`SUB ${room.state.subject} 1\r\n`)).toContain("Permissions Violation");
  });

  test("disconnect and refuse a revoked user everywhere, over HTTP or by a command on the host of one node", async () => {
    const ways = {
      http: async (key: string) =>
        expect((await call(cluster.node(2).ready.http, people.admin, "POST", `/users/${key}/revoke`)).status).toBe(204),
      host: async (key: string) => {
        const { folder, data } = cluster.node(1);
        expect(await unibus(folder, ["user", "revoke", key, "--data", data])).toMatchObject({ code: 0 });
      },
    };
    for (const [handle, revoke] of Object.entries(ways)) {
      const victim = await postUser(cluster.node(0), people.admin, handle);
      const live = await Promise.all(cluster.nodes.map(({ ready }) => rawPeerAt(ready.nats, victim)));
      await revoke(victim.signPubHex);
      await until("the user's connections are closed", () => live.every(({ isClosed }) => isClosed), 2_000);
      expect(await statusAt(cluster, victim)).toEqual([401, 401, 401]);
      for (const { ready } of cluster.nodes) {
        using raw = await RawNats.open(ready.nats);
        expect(await raw.login(loginOf(victim, raw))).toBe("Authorization Violation");
      }
    }
  });

  test("authenticate at their own nats-server even if the other nodes hang", async () => {
    const others = [cluster.node(0), cluster.node(2)];
    for (const { pid } of others) process.kill(pid, "SIGSTOP");
    try {
      for (let i = 0; i < 20; i++) (await rawPeerAt(cluster.node(1).ready.nats, people.bob))[Symbol.dispose]();
    } finally {
      for (const { pid } of others) process.kill(pid, "SIGCONT");
    }
  });

  test("authenticate for a node whose nats-server runs without its unibus", async () => {
    const { data } = cluster.node(2);
    await cluster.endNode(2);
    const config = join(data, "nats", "nats.conf");
    const child = Bun.spawn([natsServer, "-c", config], { stdin: "ignore", stdout: "ignore", stderr: "ignore" });
    try {
      const file = join(data, "nats", "ports", `nats-server_${child.pid}.ports`);
      await until(
        "nats-server wrote its ports file",
        () => existsSync(file) && readFileSync(file, "utf8").endsWith("}"),
      );
      const { nats } = JSON.parse(readFileSync(file, "utf8")) as { nats: string[] };
      await until("the login is answered", async () => {
        using raw = await RawNats.open(nats[0] ?? "");
        return (await raw.login(loginOf(people.bob, raw))) === "";
      });
    } finally {
      child.kill("SIGTERM");
      await child.exited;
    }
    await cluster.startNode(2);
    await until("all nodes are ready", () => areReady(cluster));
  }, 60_000);

  test("let JetStream reply into no other room, for any nodes of attacker, victim and stream", async () => {
    const bus = await inside(cluster.node(0));
    for (const server of cluster.nodes) {
      const mine = await createRoom(server, people.bob, policy("persist"));
      const victim = await createRoom(server, people.ana, policy("persist"));
      using mallory = await rawPeerAt(server.ready.nats, people.bob);
      for (let i = 0; i < 20; i++) mallory.write(pub(mine.state.subject, "bait", victim.state.subject));
      const inbox = `_INBOX.${people.bob.endpoint}.a.last`;
      await mallory.exchange(`SUB ${inbox} 1\r\n`, pub(mine.state.subject, "last", inbox));
      await until("all publishes are answered", () => mallory.received.includes(`MSG ${inbox} `));
      expect((await streamState(bus, mine))?.messages).toBe(21);
      expect((await streamState(bus, victim))?.messages).toBe(0);
    }
    await bus.close();
  });

  test("adopt a connection that another node admitted, and disconnect one whose permissions cannot be checked", async () => {
    const [here, there] = [cluster.node(0), cluster.node(1)];
    const room = await addMembers(here, await createRoom(here, people.ana, policy()), people.bob);
    using bob = await rawPeerAt(there.ready.nats, people.bob);
    const system = await inside(there, "SYS");
    const listed = async () => {
      const subject = `$SYS.REQ.SERVER.${system.info?.server_id}.CONNZ`;
      const reply = await system.request(subject, JSON.stringify({ auth: true, acc: "PEERS" }));
      type List = { data: { connections: { authorized_user: string }[] } };
      return reply.json<List>().data.connections.map(({ authorized_user }) => authorized_user);
    };
    // The connection's name contains its permissions, so that a node that did not admit it can check them.
    expect((await listed()).filter((name) => name.startsWith(`${people.bob.endpoint}.`))).toHaveLength(1);
    await system.close();
    await kick(here, room, people.bob, people.ana);
    await until("bob is disconnected", () => bob.isClosed, 1_000);
  });
});

describe("replicas", () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await Cluster.start({ replicas: 1 });
  }, 60_000);
  afterAll(() => cluster[Symbol.asyncDispose]());

  const copiesOf = async (account: "CTL" | "BUS", stream: string): Promise<unknown[]> => {
    const connection = await inside(cluster.node(0), account);
    type Info = { config: { num_replicas: number }; cluster: { replicas?: { current: boolean }[] } };
    const { config, cluster: at } = await jetStream<Info>(connection, `STREAM.INFO.${stream}`);
    await connection.close();
    return [config.num_replicas, (at.replicas ?? []).map(({ current }) => current)];
  };
  const scale = (...args: string[]) => {
    const { folder, data } = cluster.node(1);
    return unibus(folder, ["cluster", "scale", "--data", data, "--json", ...args]);
  };

  test("are added and removed in place, all up to date when the command ends, and nothing is lost", async () => {
    const server = cluster.node(0);
    const { ana, bob } = await castOf(server, "ana", "bob");
    const room = await addMembers(server, await createRoom(server, ana, policy("persist")), bob);
    const peer = await dial(server, ana);
    for (let i = 0; i < 50; i++) await peer.request(room.state.subject, `frame ${i}`);
    const stream = streamName(room.state.roomId);
    expect(await copiesOf("BUS", stream)).toEqual([1, []]);

    const up = await scale("--replicas", "3");
    expect(up).toMatchObject({ code: 0 });
    const { streams } = JSON.parse(up.stdout) as { streams: number };
    expect(streams).toBeGreaterThanOrEqual(8);
    expect(JSON.parse(up.stdout)).toEqual({ replicas: 3, streams, changed: streams });
    expect(up.stderr).toMatch(/CTL: (\d+) of \1 streams have 3 copies\nBUS: 1 of 1 streams have 3 copies/);
    expect(await copiesOf("CTL", "KV_UNIBUS_rooms")).toEqual([3, [true, true]]);
    expect(await copiesOf("BUS", stream)).toEqual([3, [true, true]]);
    const bus = await inside(server);
    expect((await streamState(bus, room))?.messages).toBe(50);
    await bus.close();
    expect(JSON.parse((await scale("--replicas", "3")).stdout)).toEqual({ replicas: 3, streams, changed: 0 });

    // New rooms follow the control plane's replica count once each node has noticed the change.
    await until("new rooms have three replicas", async () => {
      const made = await createRoom(cluster.node(2), ana, policy("persist"));
      return (await copiesOf("BUS", streamName(made.state.roomId)))[0] === 3;
    });

    const down = await scale("--replicas", "1");
    expect(down).toMatchObject({ code: 0 });
    expect(await copiesOf("CTL", "KV_UNIBUS_rooms")).toEqual([1, []]);
    expect(await copiesOf("BUS", stream)).toEqual([1, []]);
    expect((await history(cluster.node(1), bob, room)).length).toBe(50);
    await peer.close();
  }, 120_000);

  test("need as many nodes: more are refused, with a fix, and nothing is changed", async () => {
    const done = await scale("--replicas", "5");
    expect(done).toMatchObject({ code: 1, stdout: "" });
    expect(done.stderr).toContain("5 copies need 5 running nodes (start more nodes of the cluster, or scale");
    expect(await copiesOf("CTL", "KV_UNIBUS_rooms")).toEqual([1, []]);
    expect(await scale("--replicas", "6")).toMatchObject({ code: 2 });
  });
});

describe("readiness", () => {
  test("requires a quorum: a node waits alone, started in turn or at once, and is lost with the majority", async () => {
    await using cluster = await Cluster.start({ started: 0 });
    const file = cluster.secretFile;
    expect(statSync(file).mode & 0o777).toBe(0o600);
    {
      await using lone = cluster.bootNode(0);
      await until("it logs what it waits for", () => lone.log.includes("waiting for the other nodes of the cluster"));
      expect(lone.log).toContain("no quorum: 1 of 3 nodes are connected");
      expect(lone.isReady).toBe(false);
    }
    const starting = [2, 0].map((index) => cluster.startNode(index));
    await until("two of them listen", () => [2, 0].every((index) => existsSync(natsPidFile(cluster, index))));
    await Promise.all([...starting, cluster.startNode(1)]);
    await until("all nodes are ready", () => areReady(cluster));

    await Promise.all([cluster.endNode(1, "SIGKILL"), cluster.endNode(2, "SIGKILL")]);
    await until("the remaining node is not ready", async () => (await readiness(cluster.node(0))).status === 503);
    const { plugins } = await readiness(cluster.node(0));
    expect(plugins["nats-embedded"]).toEqual({ ok: false, detail: "no quorum: 1 of 3 nodes are connected" });

    await cluster.startNode(2);
    await until("two nodes are ready again", () => areReady(cluster), 30_000);
  }, 120_000);
});
