/** One user with many connections, one address with many logins: others are not locked out. Source: spec 9. */
import { expect, test } from "bun:test";
import type { Identity } from "../../src/client/identity.ts";
import { Server, until } from "../support/executable.ts";
import { castOf } from "../support/inside.ts";
import { loginOf, RawNats, rawPeer } from "../support/raw-nats.ts";

/** Connections of one user where nothing is set. Source: spec 9. */
const connectionsMax = 32;

const denied = "Authorization Violation";

async function login(server: Server, who: Identity): Promise<string> {
  using raw = await RawNats.open(server.ready.nats);
  return await raw.login(loginOf(who, raw));
}

test("the 33rd connection of a user is refused, and others come in", async () => {
  await using server = await Server.start();
  const { ana, bob } = await castOf(server, "ana", "bob");
  const connections: RawNats[] = [];
  for (let index = 0; index < connectionsMax; index++) connections.push(await rawPeer(server.ready.nats, ana));
  expect(await login(server, ana)).toBe(denied);
  expect(await login(server, bob)).toBe("");
  for (const connection of connections) expect(connection.isClosed).toBe(false);
  connections[0]?.[Symbol.dispose]();
  await until("there is room for one", async () => (await login(server, ana)) === "");
  for (const connection of connections) connection[Symbol.dispose]();
}, 20_000);

test("logins from one address are served at a rate, whoever makes them, and again a moment later", async () => {
  await using server = await Server.start({ args: ["--set", "auth-callout.logins_per_second=5"] });
  const { ana, bob } = await castOf(server, "ana", "bob");
  using before = await rawPeer(server.ready.nats, ana);
  const answers = await Promise.all(
    Array.from({ length: 40 }, (_, index) => login(server, index % 2 === 0 ? ana : bob)),
  );
  const isIn = answers.filter((answer) => answer === "").length;
  expect(isIn).toBeGreaterThanOrEqual(5);
  expect(isIn).toBeLessThanOrEqual(20);
  expect(answers).toContain(denied);
  expect(await before.exchange()).toContain("PONG");
  await until("there are logins again", async () => (await login(server, bob)) === "");
}, 20_000);
