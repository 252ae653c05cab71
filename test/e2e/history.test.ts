/**
 * GET /rooms/{id}/history against the executable: limits, paging with `before`, the 8 MiB bound of a reply, duplicate
 * message ids, and reads that run beside publishes. Source: docs/protocol/history.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import type { NatsConnection } from "nats";
import { headers } from "nats";
import { Server } from "../support/executable.ts";
import { type Cast, castOf } from "../support/inside.ts";
import { addMembers, call, createRoom, dial, history, type OwnRoom, policy } from "../support/peer.ts";

const mebibyte = 1_048_576;
let server: Server;
let people: Cast<"ana" | "bob">;
/** A room that contains `frame 1` to `frame 1050`, with its publisher. */
let long: OwnRoom;
const longCount = 1_050;

beforeAll(async () => {
  server = await Server.start({ args: ["--set", "http.rate=1000000"] });
  people = await castOf(server, "ana", "bob");
  long = await createRoom(server, people.ana, policy("persist"));
  await publish(
    long,
    Array.from({ length: longCount }, (_, i) => `frame ${i + 1}`),
  );
});
afterAll(() => server[Symbol.asyncDispose]());

/** Publishes as the owner and waits until everything is stored. */
async function publish(room: OwnRoom, frames: readonly (string | Uint8Array)[]): Promise<void> {
  const nats = await dial(server, people.ana);
  for (const frame of frames.slice(0, -1)) nats.publish(room.state.subject, frame);
  await nats.request(room.state.subject, frames.at(-1), { timeout: 10_000 });
  await nats.close();
}

interface Page {
  readonly texts: string[];
  readonly first_seq: number;
  readonly last_seq: number;
  readonly more: boolean;
  readonly seqs: readonly number[];
}
async function page(room: OwnRoom, query: string): Promise<Page> {
  const reply = await call(server.ready.http, people.ana, "GET", `/rooms/${room.state.roomId}/history${query}`);
  expect([query, reply.status]).toEqual([query, 200]);
  expect(Object.keys(reply.json).sort()).toEqual(["first_seq", "last_seq", "messages", "more", "seqs"]);
  const { messages, ...rest } = reply.json as unknown as Omit<Page, "texts"> & { messages: string[] };
  expect([rest.seqs[0] ?? 0, rest.seqs.at(-1) ?? 0]).toEqual([rest.first_seq, rest.last_seq]);
  return { ...rest, texts: messages.map((text) => Buffer.from(text, "base64").toString()) };
}
const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => `frame ${from + i}`);

describe("limit", () => {
  const limits: readonly (readonly [query: string, count: number])[] = [
    ["", 200],
    ["?limit=", 200],
    ["?limit=x", 200],
    ["?limit=0", 200],
    ["?limit=-5", 200],
    ["?limit=1.5", 200],
    ["?limit=1e3", 200],
    ["?limit=%205", 200],
    ["?limit=0x10", 200],
    ["?limit=null", 200],
    ["?limit=%D9%A5", 200],
    ["?unknown=1", 200],
    ["?limit=1", 1],
    ["?limit=007", 7],
    ["?limit=200", 200],
    ["?limit=201", 201],
    ["?limit=999", 999],
    ["?limit=1000", 1_000],
    ["?limit=1001", 1_000],
    ["?limit=99999999999999999999999", 1_000],
  ];
  for (const [query, count] of limits) {
    test(`${query || "(none)"} returns the last ${count}, oldest first`, async () => {
      const { texts, seqs, ...rest } = await page(long, query);
      expect(seqs).toEqual(Array.from({ length: count }, (_, i) => longCount - count + 1 + i));
      expect(texts).toEqual(range(longCount - count + 1, longCount));
      expect(rest).toEqual({ first_seq: longCount - count + 1, last_seq: longCount, more: true });
    });
  }
});

describe("before", () => {
  test("pages back, and covers every frame once", async () => {
    for (const limit of [1_000, 333, 50]) {
      const pages: string[][] = [];
      let query = `?limit=${limit}`;
      for (;;) {
        const { texts, first_seq, last_seq, more } = await page(long, query);
        expect(last_seq - first_seq + 1).toBe(texts.length);
        pages.unshift(texts);
        if (!more) break;
        query = `?limit=${limit}&before=${first_seq}`;
      }
      expect(pages).toHaveLength(Math.ceil(longCount / limit));
      expect(pages.flat()).toEqual(range(1, longCount));
    }
  });

  test("at the first frame and below returns nothing", async () => {
    const nothing = { texts: [], seqs: [], first_seq: 0, last_seq: 0, more: false };
    for (const before of [0, 1]) expect(await page(long, `?before=${before}`)).toEqual(nothing);
    expect(await page(long, "?before=2")).toEqual({
      texts: ["frame 1"],
      seqs: [1],
      first_seq: 1,
      last_seq: 1,
      more: false,
    });
  });

  test("past the last frame has no effect", async () => {
    for (const before of [longCount + 1, 10_000_000, Number.MAX_SAFE_INTEGER]) {
      expect((await page(long, `?limit=3&before=${before}`)).texts).toEqual(range(longCount - 2, longCount));
    }
  });

  test("that is not a sequence is refused", async () => {
    for (const before of ["x", "-1", "1e400", "9007199254740993", "%00", "1;2"]) {
      const target = `/rooms/${long.state.roomId}/history?before=${before}`;
      const reply = await call(server.ready.http, people.ana, "GET", target);
      expect([before, reply.status, reply.json.code]).toEqual([before, 400, "invalid"]);
    }
  });
});

describe("after and since", () => {
  test("page forward, and cover every frame once", async () => {
    for (const limit of [1_000, 333]) {
      const pages: string[][] = [];
      for (let after = 0; ; ) {
        const { texts, last_seq, more } = await page(long, `?limit=${limit}&after=${after}`);
        pages.push(texts);
        if (!more) break;
        after = last_seq;
      }
      expect(pages).toHaveLength(Math.ceil(longCount / limit));
      expect(pages.flat()).toEqual(range(1, longCount));
    }
    const nothing = { texts: [], seqs: [], first_seq: 0, last_seq: 0, more: false };
    for (const after of [longCount, 10_000_000, Number.MAX_SAFE_INTEGER]) {
      expect(await page(long, `?after=${after}`)).toEqual(nothing);
    }
  });

  test("since a time, in any offset and precision of RFC 3339", async () => {
    const room = await createRoom(server, people.ana, policy("persist"));
    await publish(room, ["frame 1", "frame 2"]);
    const all = range(1, 2);
    for (const since of ["1970-01-01T00:00:00Z", "0001-01-01T00:00:00.123456789Z", "2020-05-05T01:00:00%2B05:30"]) {
      expect((await page(room, `?since=${since}`)).texts).toEqual(all);
    }
    const { texts, more } = await page(room, "?limit=1&since=2020-05-05t00:00:00z");
    expect([texts, more]).toEqual([["frame 1"], true]);
    for (const since of ["2999-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]) {
      expect((await page(room, `?since=${since}`)).texts).toEqual([]);
    }
  });

  test("that are malformed, or more than one of before, after and since, are refused", async () => {
    const times = ["", "x", "2026-13-01T00:00:00Z", "2026-01-01", "2026-01-01T00:00:00", "2026-01-01T00:00:00%2005:30"];
    const both = ["after=1&before=5", "after=1&since=2026-01-01T00:00:00Z", "before=5&since=2026-01-01T00:00:00Z"];
    for (const query of [...times.map((time) => `since=${time}`), "after=-1", "after=x", "after=1.5", ...both]) {
      const target = `/rooms/${long.state.roomId}/history?${query}`;
      const reply = await call(server.ready.http, people.ana, "GET", target);
      expect([query, reply.status, reply.json.code]).toEqual([query, 400, "invalid"]);
    }
  });
});

describe("a reply", () => {
  test("is an empty list if there are no frames, never null", async () => {
    for (const rules of [policy("persist"), policy(), policy("encrypt")]) {
      const room = await createRoom(server, people.ana, rules);
      const reply = await call(server.ready.http, people.ana, "GET", `/rooms/${room.state.roomId}/history`);
      expect([reply.status, reply.text]).toEqual([
        200,
        '{"messages":[],"seqs":[],"first_seq":0,"last_seq":0,"more":false}',
      ]);
    }
  });

  test("contains the bytes as they were published", async () => {
    const room = await createRoom(server, people.ana, policy("persist"));
    const every = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
    const awkward = ["", "\r\n", "NATS/1.0\r\n\r\n", '{"a":"\u2028"}', "PUB x 1\r\nx\r\n", "\u0000"].map((text) =>
      Buffer.from(text),
    );
    const sent = [every, ...awkward, randomBytes(1), randomBytes(2), randomBytes(100_001)];
    await publish(room, sent);
    expect(await history(server, people.ana, room)).toEqual(sent);
  });

  test("contains frames of its own room only", async () => {
    const [one, other] = [
      await createRoom(server, people.ana, policy("persist")),
      await createRoom(server, people.ana, policy("persist")),
    ];
    await Promise.all([publish(one, ["one"]), publish(other, ["other"])]);
    expect((await history(server, people.ana, one)).map(String)).toEqual(["one"]);
    expect((await history(server, people.ana, other)).map(String)).toEqual(["other"]);
  });

  test("of a room without persistence is empty", async () => {
    const room = await addMembers(server, await createRoom(server, people.ana, policy()), people.bob);
    const [ana, bob] = [await dial(server, people.ana), await dial(server, people.bob)];
    const heard = bob.subscribe(room.state.subject, { max: 1 });
    await bob.flush();
    ana.publish(room.state.subject, "heard, not kept");
    for await (const message of heard) expect(message.string()).toBe("heard, not kept");
    await Promise.all([ana.close(), bob.close()]);
    expect(await history(server, people.ana, room)).toEqual([]);
  });

  test("contains the newest frames within 8 MiB, and the rest is on the next page", async () => {
    const room = await createRoom(server, people.ana, policy("persist"));
    await publish(
      room,
      Array.from({ length: 11 }, (_, i) => Buffer.alloc(mebibyte, 65 + i)),
    );
    const first = await page(room, "?limit=1000");
    expect(first.texts.map((text) => text[0])).toEqual([..."DEFGHIJK"]);
    expect(first).toMatchObject({ first_seq: 4, last_seq: 11, more: true });
    const rest = await page(room, `?limit=1000&before=${first.first_seq}`);
    expect(rest.texts.map((text) => text[0])).toEqual([..."ABC"]);
    expect(rest).toMatchObject({ first_seq: 1, last_seq: 3, more: false });
  }, 20_000);
});

describe("a frame with a Nats-Msg-Id", () => {
  test("is stored once, and the second ack says so", async () => {
    const room = await createRoom(server, people.ana, policy("persist"));
    const nats = await dial(server, people.ana);
    const id = headers();
    id.set("Nats-Msg-Id", `${people.ana.endpoint}.01ARZ3NDEKTSV4RRFFQ69G5FAV`);
    const send = async (text: string) => {
      const ack = await nats.request(room.state.subject, text, { headers: id, timeout: 5_000 });
      return ack.json<{ seq: number; duplicate?: boolean }>();
    };
    expect(await send("once")).toMatchObject({ seq: 1 });
    expect(await send("twice")).toMatchObject({ seq: 1, duplicate: true });
    await nats.close();
    expect((await history(server, people.ana, room)).map(String)).toEqual(["once"]);
  });
});

describe("reads during publishes", () => {
  test("never show a gap, and include what was acknowledged before they began", async () => {
    const room = await createRoom(server, people.ana, policy("persist"));
    const nats = await dial(server, people.ana);
    let acked = 0;
    let isOver = false;
    const writing = (async (connection: NatsConnection) => {
      for (let i = 1; i <= 1_500; i += 5) {
        const five = Array.from({ length: 5 }, (_, j) =>
          connection.request(room.state.subject, `frame ${i + j}`, { timeout: 5_000 }),
        );
        const sequences = (await Promise.all(five)).map((ack) => ack.json<{ seq: number }>().seq);
        acked = Math.max(acked, ...sequences);
      }
      isOver = true;
    })(nats);
    const reader = async (): Promise<number> => {
      let reads = 0;
      for (; !isOver; reads++) {
        const ackedBefore = acked;
        const { texts, first_seq, last_seq } = await page(room, "?limit=1000");
        expect(last_seq).toBeGreaterThanOrEqual(ackedBefore);
        if (texts.length > 0) expect(texts).toEqual(range(first_seq, last_seq));
      }
      return reads;
    };
    const reads = await Promise.all([reader(), reader(), reader()]);
    await writing;
    await nats.close();
    expect(Math.min(...reads)).toBeGreaterThan(2);
    expect((await page(room, "?limit=1000")).texts).toEqual(range(501, 1_500));
  }, 30_000);

  test("do not move any reader's position: the same read returns the same frames", async () => {
    const before = await page(long, "?limit=10");
    await Promise.all(Array.from({ length: 20 }, () => page(long, "?limit=10")));
    expect(await page(long, "?limit=10")).toEqual(before);
  });
});
