/** Calls to JetStream: their limits, their errors, and what happens when the connection breaks. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { NatsConnection } from "nats";
import { type ApiReply, isCode, JetStream, jetStreamErrors, jsCode } from "../../src/nats/jetstream.ts";
import { lastMessage, nextMessage } from "../../src/nats/messages.ts";
import { KvServer } from "../plugins/store-kv/server.ts";

const errors = jetStreamErrors("no answer", "full");
let server: KvServer;
let account: string;
beforeAll(async () => {
  server = await KvServer.start(1);
  account = server.freshAccount();
});
afterAll(() => server[Symbol.asyncDispose]());

/** Replaces the requests of a connection. */
function withRequest(connection: NatsConnection, request: (...values: unknown[]) => Promise<unknown>): NatsConnection {
  return new Proxy(connection, {
    get: (target, name) => {
      if (name === "request") return request;
      const member: unknown = Reflect.get(target, name, target);
      return typeof member === "function" ? member.bind(target) : member;
    },
  });
}

/** Creates a stream with one subject space. */
async function stream(js: JetStream, name: string): Promise<string> {
  const config = { name, subjects: [`${name}.>`], storage: "memory", allow_direct: true, allow_atomic: true };
  errors.expectReply(await js.call(`STREAM.CREATE.${name}`, config));
  return name;
}

test("an error of JetStream is in the reply, and expected codes pass", async () => {
  const js = new JetStream(await server.connection(account), errors);
  const reply = await js.call<ApiReply>("STREAM.INFO.NONE");
  expect(isCode(reply, jsCode.streamNotFound)).toBe(true);
  expect(errors.expectReply(reply, jsCode.streamNotFound)).toBe(reply);
  expect(() => errors.expectReply(reply)).toThrow("no answer");
});

test.each([jsCode.noSpace, jsCode.noResources, jsCode.noSpaceInAccount])(
  "code %d means that no space is left",
  (code) => {
    const reply = { error: { code: 503, err_code: code } };
    expect(() => errors.expectReply(reply)).toThrow("full");
    expect(() => jetStreamErrors("no answer").expectReply(reply)).toThrow("no answer");
  },
);

test("512 calls are in flight at most, and the others follow", async () => {
  let [running, most] = [0, 0];
  const freed = Promise.withResolvers<void>();
  const counted = withRequest(await server.connection(account), async () => {
    running += 1;
    most = Math.max(most, running);
    await freed.promise;
    running -= 1;
    return { json: () => ({}) };
  });
  const js = new JetStream(counted, errors);
  const calls = Array.from({ length: 2_000 }, () => js.call("INFO"));
  await Bun.sleep(0);
  expect(running).toBe(512);
  freed.resolve();
  expect(await Promise.all(calls)).toHaveLength(2_000);
  expect(most).toBe(512);
});

test("a read is sent again when it is not answered, and a change is not", async () => {
  const connection = await server.connection(account);
  const sent: unknown[] = [];
  const lossy = withRequest(connection, async (...values) => {
    sent.push(values[0]);
    if (sent.length === 1) throw Object.assign(new Error("timeout"), { code: "TIMEOUT" });
    return Reflect.apply(connection.request, connection, values);
  });
  const js = new JetStream(lossy, errors);
  expect(await js.read<ApiReply & { streams: number }>("INFO")).toMatchObject({ streams: expect.any(Number) });
  expect(sent).toEqual(["$JS.API.INFO", "$JS.API.INFO"]);
  sent.length = 0;
  await expect(js.call("INFO")).rejects.toMatchObject({ code: "unavailable", message: "no answer" });
  expect(sent).toEqual(["$JS.API.INFO"]);
});

test("a batch is stored as a whole or not at all, and its messages can be read", async () => {
  const js = new JetStream(await server.connection(account), errors);
  const name = await stream(js, "BATCH");
  const drafts = (expected: string) => [
    { subject: `${name}.a`, payload: "1" },
    { subject: `${name}.b`, payload: "2", headers: { "Nats-Expected-Last-Subject-Sequence": expected } },
  ];
  expect(await js.publishBatch(drafts("0"))).toMatchObject({ stream: name, seq: 2 });
  expect((await js.publishBatch(drafts("0"))).error).toBeDefined();
  const last = await lastMessage(js, name, `${name}.b`);
  expect([last?.seq, Buffer.from(last?.data ?? []).toString()]).toEqual([2, "2"]);
  expect((await nextMessage(js, name, `${name}.a`, 1))?.seq).toBe(1);
  expect(await nextMessage(js, name, `${name}.a`, 2)).toBeNull();
  expect(await lastMessage(js, name, `${name}.c`)).toBeNull();
});

test("calls in flight and later ones fail at once when the connection breaks", async () => {
  await using own = await KvServer.start(1);
  const connection = await own.connection(own.freshAccount());
  const asked = Promise.withResolvers<void>();
  const silent = withRequest(connection, () => {
    asked.resolve();
    return new Promise(() => undefined);
  });
  const js = new JetStream(silent, errors);
  const call = js.call("INFO", "", 600_000);
  await asked.promise;
  await own.kill();
  await expect(call).rejects.toMatchObject({ code: "unavailable" });
  await expect(js.call("INFO", "", 600_000)).rejects.toMatchObject({ code: "unavailable" });
});
