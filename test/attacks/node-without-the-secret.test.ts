/**
 * Nodes that try to join a cluster without its secret, or with a certificate of another authority. Such a node must not
 * join or receive anything, and the log names the cause. The secret, and what is derived from it, must not appear in a
 * command line or a log. Most tests run on loopback without TLS. Source: docs/threat-model.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { connect } from "nats";
import { Authority } from "../support/certificates.ts";
import { areReady, Cluster, readiness } from "../support/cluster.ts";
import { Folder, unibus, until } from "../support/executable.ts";
import { castOf, secretsOf } from "../support/inside.ts";
import { createRoom, dial, policy } from "../support/peer.ts";

const natsServer = resolve(import.meta.dir, "../../.cache/nats-server/nats-server");
/** The index of a node that is not part of the cluster. */
const stranger = 3;

async function expectThree(cluster: Cluster): Promise<void> {
  // A node that has just started is still catching up.
  await until("all nodes are ready", () => areReady(cluster));
  for (const server of cluster.nodes) {
    const { plugins } = await readiness(server);
    expect(plugins["nats-embedded"]).toEqual({ ok: true, detail: "3 of 3 nodes are connected" });
  }
}

describe("into a cluster without TLS, on loopback,", () => {
  let cluster: Cluster;
  let shared: Folder;
  beforeAll(async () => {
    shared = new Folder();
    cluster = await Cluster.start({ env: { UNIBUS_DEBUG: "1" } });
  }, 60_000);
  afterAll(async () => {
    await cluster[Symbol.asyncDispose]();
    shared[Symbol.dispose]();
  });

  /** The setting of a node outside the cluster: it lists the cluster's nodes and itself; they do not list it. */
  const strange = (otherwise: Record<string, unknown>) => {
    const routes = [0, 1, 2, stranger].map((index) => `nats-route://127.0.0.1:${cluster.routePort(index)}`);
    return { routes, ...otherwise };
  };

  test("a node with another secret is refused, and both sides log the reason", async () => {
    const secret_file = shared.file("other");
    expect(await unibus(shared, ["cluster", "init", "--out", secret_file])).toMatchObject({ code: 0 });
    await using other = cluster.bootNode(stranger, strange({ secret_file }));
    await until("the reason is logged", () =>
      other.log.includes("this node cannot join: its secret differs from the cluster's"),
    );
    await until("the other node waits", () => other.log.includes("no quorum: 1 of 4 nodes are connected"));
    expect(other.isReady).toBe(false);
    await expectThree(cluster);
  });

  test("a node without a secret does not start, nor does one whose secret others can read", async () => {
    const open = shared.file("open");
    writeFileSync(open, readFileSync(cluster.secretFile), { mode: 0o600 });
    chmodSync(open, 0o640);
    const cases = [
      [{ secret_file: undefined }, "nats-embedded.cluster.secret_file: a cluster needs a secret (create one"],
      [
        { secret_file: open },
        `nats-embedded.cluster.secret_file: ${open} is readable by other users (chmod 600 ${open})`,
      ],
    ] as const;
    for (const [otherwise, message] of cases) {
      await using lone = cluster.bootNode(stranger, strange(otherwise));
      expect(await lone.exited).toBe(1);
      expect(lone.log).toContain(message);
    }
  });

  test("an attacker's own nats-server receives nothing, and is not a member", async () => {
    const listen = `127.0.0.1:${cluster.routePort(stranger)}`;
    const accounts = Object.fromEntries(
      ["BUS", "CTL", "SYS"].map((name) => [name, { users: [{ user: name, password: "x" }] }]),
    );
    const routes = [0, 1, 2].map((index) => `nats-route://127.0.0.1:${cluster.routePort(index)}`);
    const config = { server_name: "evil", listen: "127.0.0.1:-1", accounts, system_account: "SYS" };
    const ports = { ports_file_dir: shared.path };
    const file = shared.file("evil.conf");
    writeFileSync(
      file,
      JSON.stringify({ ...config, ...ports, cluster: { name: "test", listen, routes, pool_size: -1 } }),
    );
    const child = Bun.spawn([natsServer, "-c", file], { stdin: "ignore", stdout: "ignore", stderr: "pipe" });
    let log = "";
    const reading = (async () => {
      for await (const chunk of child.stderr) log += Buffer.from(chunk).toString();
    })();
    try {
      await until("the route was refused", () => log.includes("Route Error 'Authorization Violation'"));
      const portsFile = shared.file(`nats-server_${child.pid}.ports`);
      await until(
        "the attacker's server is listening",
        () => existsSync(portsFile) && readFileSync(portsFile).length > 2,
      );
      const said = readFileSync(portsFile, "utf8");
      const { nats } = JSON.parse(said) as { nats: string[] };
      const evil = await connect({ servers: nats[0] ?? "", user: "BUS", pass: "x" });
      const heard: string[] = [];
      evil.subscribe(">", { callback: (_, message) => heard.push(message.subject) });
      await evil.flush();
      const { ana } = await castOf(cluster.node(0), "ana");
      const room = await createRoom(cluster.node(0), ana, policy("persist"));
      const peer = await dial(cluster.node(0), ana);
      for (let i = 0; i < 20; i++) await peer.request(room.state.subject, "secret");
      await peer.close();
      await evil.flush();
      expect(heard.filter((subject) => !subject.startsWith("_INBOX"))).toEqual([]);
      await evil.close();
    } finally {
      child.kill("SIGKILL");
      await child.exited;
      await reading;
    }
    await expectThree(cluster);
  });

  test("the secret, and what is derived from it, appear in no command line and in no log", async () => {
    const { passwords, issuer_seed } = secretsOf(cluster.node(0));
    const config = readFileSync(resolve(cluster.node(0).data, "nats", "nats.conf"), "utf8");
    const route = /"password": ?"([0-9a-f]{64})"/.exec(config)?.[1] ?? "";
    expect(route).toHaveLength(64);
    const secret = readFileSync(cluster.secretFile, "utf8").trim();
    const servers = [...cluster.nodes];
    for (const server of servers) {
      expect(secretsOf(server).passwords).toEqual(passwords);
      for (const pid of [server.pid, server.ready.nats_pid]) {
        expect(readFileSync(`/proc/${pid}/cmdline`, "utf8")).not.toContain(secret);
      }
    }
    await cluster.endNode(2);
    const last = servers[2];
    const { stdout, stderr } = (await last?.output()) ?? { stdout: "", stderr: "" };
    expect(stderr).toContain("Route");
    for (const text of [secret, route, issuer_seed, ...Object.values(passwords)]) {
      expect((stdout + stderr).includes(text)).toBe(false);
    }
  });
});

test("a node with another authority's certificate is refused despite the right secret; its log has the reason", async () => {
  using authority = new Authority();
  using other = new Authority();
  const tls = (node: number) => {
    const from = node === stranger ? other : authority;
    return { ...from.issue(`node-${node}`), ca: from.file };
  };
  await using cluster = await Cluster.start({ tls });
  await expectThree(cluster);
  const routes = [0, 1, 2, stranger].map((index) => `nats-route://127.0.0.1:${cluster.routePort(index)}`);
  await using node = cluster.bootNode(stranger, { routes });
  await until("the reason is logged", () => node.log.includes("use one certificate authority for all nodes"));
  await until("the other node waits", () => node.log.includes("no quorum: 1 of 4 nodes are connected"));
  expect(node.isReady).toBe(false);
  await expectThree(cluster);
}, 60_000);
