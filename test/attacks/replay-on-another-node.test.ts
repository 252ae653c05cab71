/**
 * A signed request replayed to another node of the same bus. Source: docs/protocol/requests.md, docs/threat-model.md.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { type Nodes, Nodes as ThreeNodes } from "../faults/chaos/nodes.ts";
import { type Cast, castOf } from "../support/inside.ts";
import { type Reply, send, signedHeaders } from "../support/peer.ts";

const racers = 30;
const get = { method: "GET", target: "/directory" } as const;
const shared = { "public-url": "localhost:9", "http.hosts": "also.example:99" } as const;

let nodes: Nodes;
let people: Cast<"ana">;

beforeAll(async () => {
  const names = ["--public-url", `http://${shared["public-url"]}`];
  const hosts = ["--set", `http.hosts=${JSON.stringify([shared["http.hosts"]])}`];
  nodes = await ThreeNodes.start({ args: [...names, ...hosts, "--set", "http.allow_cleartext=true"] });
  people = await castOf(nodes.at(0), "ana");
}, 60_000);
afterAll(() => nodes[Symbol.asyncDispose]());

const signedFor = (host: string) => signedHeaders(people.ana, { url: nodes.url(0), ...get, host });
const at = (node: number, headers: Record<string, string>): Promise<Reply> =>
  send(`${nodes.url(node)}${get.target}`, { ...get, headers });
const outcome = ({ status, json }: Reply) => [status, json.code];

for (const [way, host] of Object.entries(shared)) {
  test(`a request that is signed for the name of ${way} is accepted by one node, once`, async () => {
    for (const first of [0, 1, 2]) {
      const headers = signedFor(host);
      expect((await at(first, headers)).status).toBe(200);
      for (const node of [0, 1, 2]) {
        const again = await at(node, headers);
        expect(outcome(again)).toEqual([401, "unauthenticated"]);
        expect(again.json.error).toContain("nonce already used");
      }
    }
  });

  test(`a request for the name of ${way} that reaches all nodes at once, ${racers} times, is accepted once`, async () => {
    for (let turn = 0; turn < 5; turn++) {
      const headers = signedFor(host);
      const replies = await Promise.all(Array.from({ length: racers }, (_, i) => at(i % 3, headers)));
      expect(replies.map(({ status }) => status).sort()).toEqual([200, ...Array(racers - 1).fill(401)]);
    }
  });
}

test("a request that is signed for a node's own address is refused by the others, with that address", async () => {
  for (const [own, other] of [
    [0, 1],
    [1, 2],
    [2, 0],
  ] as const) {
    const { host } = new URL(nodes.url(own));
    const headers = signedFor(host);
    const refused = await at(other, headers);
    expect(outcome(refused)).toEqual([401, "wrong_host"]);
    expect(refused.json.error).toContain(host);
    expect((await at(own, headers)).status).toBe(200);
    expect((await at(own, headers)).status).toBe(401);
    expect((await at(other, headers)).status).toBe(401);
  }
});

test("a request that is signed for loopback, at a port of several nodes, is accepted by one of them", async () => {
  const port = new URL(nodes.url(0)).port;
  for (const host of [`127.0.0.1:${port}`, `localhost:${port}`, `[::1]:${port}`]) {
    const headers = signedFor(host);
    const statuses: number[] = [];
    for (const node of [0, 1, 2, 0]) statuses.push((await at(node, headers)).status);
    expect([host, statuses.filter((status) => status === 200).length]).toEqual([host, 1]);
  }
});

test("a request for a shared name is still refused after kill -9 of the node that accepted it, by all nodes", async () => {
  const spent = Array.from({ length: 5 }, () => signedFor(shared["public-url"]));
  for (const headers of spent) expect((await at(1, headers)).status).toBe(200);
  await nodes.kill(1);
  const refused = async (node: number, headers: Record<string, string>) => {
    const { status } = await at(node, headers);
    // During the leader election no node can decide.
    expect([401, 503]).toContain(status);
  };
  for (const headers of spent) for (const node of [0, 2]) await refused(node, headers);
  await nodes.boot(1);
  await nodes.untilReady();
  for (const headers of spent) for (const node of [0, 1, 2]) expect((await at(node, headers)).status).toBe(401);
  expect((await at(1, signedFor(shared["public-url"]))).status).toBe(200);
}, 60_000);
