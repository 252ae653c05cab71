import { expect, test } from "bun:test";
import type { NatsConnection } from "nats";
import { Connections, checkVersion } from "../../src/nats/connections.ts";
import { silentLog } from "../plugins/blobs/shelf.ts";
import { KvServer } from "../plugins/store-kv/server.ts";
import { until } from "../support/executable.ts";

test("an account is dialled once, and again after a failure", async () => {
  await using server = await KvServer.start(1);
  const name = server.freshAccount();
  let dialled = 0;
  const connections = new Connections(() => {
    dialled += 1;
    return dialled === 1 ? Promise.reject(new Error("not yet")) : server.connection(name);
  }, silentLog);
  await expect(connections.get("BUS")).rejects.toThrow("not yet");
  const [one, other] = await Promise.all([connections.get("BUS"), connections.get("BUS")]);
  expect(one).toBe(other);
  expect(dialled).toBe(2);
  await connections.close();
  expect(one.isClosed()).toBe(true);
});

test("it is not up while a connection is broken", async () => {
  await using server = await KvServer.start(1);
  const name = server.freshAccount();
  const connections = new Connections(() => server.connection(name), silentLog);
  await connections.get("CTL");
  expect(connections.isUp).toBe(true);
  await server.kill();
  await until("the connection is reported as broken", () => !connections.isUp);
  await connections.close();
});

test("a server that is too old is refused, and its connection closed", async () => {
  let closed = 0;
  const old = { info: { version: "2.10.0" }, close: async () => void closed++ } as unknown as NatsConnection;
  await expect(checkVersion(old, "nats-external: a: ")).rejects.toMatchObject({
    code: "invalid",
    message: expect.stringMatching(/^nats-external: a: nats-server is 2\.10\.0 \(use /),
  });
  expect(closed).toBe(1);
});
