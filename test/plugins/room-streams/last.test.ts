/**
 * Reading the messages of a stream in pages, backwards and forwards: order, sequences, deleted messages, how many reads
 * they cost, and the 8 MiB bound. Runs against a real nats-server.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { connect, type NatsConnection } from "nats";
import { BatchedReader, type BatchStart } from "../../../src/nats/batched-reader.ts";
import { type ApiReply, JetStream } from "../../../src/nats/jetstream.ts";
import { streamErrors } from "../../../src/plugins/room-streams/errors.ts";
import { lastFrames, nextFrames } from "../../../src/plugins/room-streams/frames.ts";
import type { StreamInfo } from "../../../src/plugins/room-streams/stream-info.ts";
import { historyBytesMax } from "../../../src/wire/api.ts";
import { bootInProcess, type InProcess } from "../../support/in-process.ts";
import { secretsOf } from "../../support/inside.ts";

const mebibyte = 1_048_576;
let running: InProcess;
let nats: NatsConnection;
let js: JetStream;
let reader: BatchedReader;

beforeAll(async () => {
  running = await bootInProcess();
  const pass = secretsOf(running.server).passwords.BUS ?? "";
  nats = await connect({ servers: new URL(running.server.ready.nats).host, user: "unibus-bus", pass });
  js = new JetStream(nats, streamErrors);
  reader = new BatchedReader(js);
});
afterAll(async () => {
  await nats.close();
  await running[Symbol.asyncDispose]();
});

let streams = 0;
/** Creates a stream from which messages can be deleted. */
async function stream(): Promise<{ name: string; subject: string }> {
  streams += 1;
  const [name, subject] = [`TEST_${streams}`, `test.${streams}`];
  const made = await js.call(`STREAM.CREATE.${name}`, {
    name,
    subjects: [subject],
    storage: "file",
    allow_direct: true,
  });
  expect(made.error).toBeUndefined();
  return { name, subject };
}
/** Publishes and waits until everything is stored. */
async function publish(subject: string, frames: readonly Uint8Array[]): Promise<void> {
  for (const frame of frames.slice(0, -1)) nats.publish(subject, frame);
  const last = frames.at(-1);
  if (last !== undefined) await nats.request(subject, last, { timeout: 10_000 });
}
const stateOf = async (name: string) => (await js.call<StreamInfo>(`STREAM.INFO.${name}`)).state;
const last = async (name: string, limit: number, before: number | null = null) =>
  lastFrames(reader, name, await stateOf(name), { limit, before });
const next = async (name: string, limit: number, from: BatchStart) =>
  nextFrames(reader, name, await stateOf(name), { limit, from });
const remove = (name: string, seq: number) => js.call<ApiReply>(`STREAM.MSG.DELETE.${name}`, { seq });
const texts = (run: { frames: readonly Uint8Array[] }) => run.frames.map((frame) => Buffer.from(frame).toString());
const numbered = (count: number) => Array.from({ length: count }, (_, i) => Buffer.from(`${i + 1}`));
const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => `${from + i}`);

describe("reading an empty stream", () => {
  test("returns nothing for every request", async () => {
    const { name } = await stream();
    for (const before of [null, 0, 1, 99]) {
      expect(await last(name, 10, before)).toEqual({ frames: [], seqs: [], firstSeq: 0, lastSeq: 0, more: false });
    }
  });

  test("returns nothing if all its messages were deleted", async () => {
    const { name, subject } = await stream();
    await publish(subject, numbered(3));
    for (const seq of [1, 2, 3]) await remove(name, seq);
    expect(await last(name, 10)).toEqual({ frames: [], seqs: [], firstSeq: 0, lastSeq: 0, more: false });
  });
});

describe("reading a stream", () => {
  test("returns the last messages, oldest first, with their sequences and whether there are more", async () => {
    const { name, subject } = await stream();
    await publish(subject, numbered(20));
    const run = await last(name, 5);
    expect(texts(run)).toEqual(range(16, 20));
    expect(run).toMatchObject({ firstSeq: 16, lastSeq: 20, more: true });
    expect(await last(name, 20)).toMatchObject({ firstSeq: 1, lastSeq: 20, more: false });
    expect(texts(await last(name, 1_000))).toEqual(range(1, 20));
  });

  test("returns those before a given sequence, down to the first", async () => {
    const { name, subject } = await stream();
    await publish(subject, numbered(20));
    expect(texts(await last(name, 5, 16))).toEqual(range(11, 15));
    expect(texts(await last(name, 5, 3))).toEqual(["1", "2"]);
    expect(await last(name, 5, 2)).toMatchObject({ firstSeq: 1, lastSeq: 1, more: false });
    for (const before of [0, 1]) expect((await last(name, 5, before)).frames).toEqual([]);
    expect(texts(await last(name, 5, 1_000))).toEqual(range(16, 20));
  });

  test("page by page returns every frame once", async () => {
    const { name, subject } = await stream();
    await publish(subject, numbered(97));
    for (const limit of [1, 7, 10, 96, 97, 98]) {
      const pages: string[][] = [];
      for (let before: number | null = null; ; ) {
        const run = await last(name, limit, before);
        pages.unshift(texts(run));
        if (!run.more) break;
        before = run.firstSeq;
      }
      expect(pages.flat()).toEqual(range(1, 97));
    }
  });

  test("whose first messages were deleted decides by the remaining ones whether there are more", async () => {
    const { name, subject } = await stream();
    await publish(subject, numbered(10));
    for (const seq of [1, 2, 3]) await remove(name, seq);
    expect(await last(name, 10)).toMatchObject({ firstSeq: 4, lastSeq: 10, more: false });
    expect(await last(name, 6)).toMatchObject({ firstSeq: 5, more: true });
    expect((await last(name, 10, 4)).frames).toEqual([]);
  });
});

describe("exactly the deleted sequences are skipped:", () => {
  const kept = (count: number, gone: ReadonlySet<number>) => range(1, count).filter((text) => !gone.has(Number(text)));

  const cases: Readonly<Record<string, readonly number[]>> = {
    "in the middle": [10, 11, 12],
    "at the end": [29, 30],
    "at both ends": [1, 2, 30],
    "every second": Array.from({ length: 15 }, (_, i) => 2 * i + 2),
    "all but one": Array.from({ length: 30 }, (_, i) => i + 1).filter((seq) => seq !== 17),
  };
  for (const [where, seqs] of Object.entries(cases)) {
    test(where, async () => {
      const { name, subject } = await stream();
      await publish(subject, numbered(30));
      for (const seq of seqs) await remove(name, seq);
      const left = kept(30, new Set(seqs));
      expect(texts(await last(name, 1_000))).toEqual(left);
      const pages: string[][] = [];
      for (let before: number | null = null; ; ) {
        const run = await last(name, 4, before);
        expect(run.frames.length).toBeLessThanOrEqual(4);
        pages.unshift(texts(run));
        if (!run.more || run.frames.length === 0) break;
        before = run.firstSeq;
      }
      expect(pages.flat()).toEqual(left);
    });
  }
});

describe("a page keeps the newest frames within 8 MiB:", () => {
  test("frames of 1 MiB", async () => {
    const { name, subject } = await stream();
    const frames = Array.from({ length: 12 }, (_, i) => Buffer.alloc(mebibyte, i));
    await publish(subject, frames);
    const run = await last(name, 1_000);
    expect(run.frames.map((frame) => frame[0])).toEqual([4, 5, 6, 7, 8, 9, 10, 11]);
    expect(run).toMatchObject({ firstSeq: 5, lastSeq: 12, more: true });
    const rest = await last(name, 1_000, run.firstSeq);
    expect(rest.frames.map((frame) => frame[0])).toEqual([0, 1, 2, 3]);
    expect(rest.more).toBe(false);
  });

  test("small frames after large ones, and large ones after small ones", async () => {
    for (const sizes of [
      [...Array<number>(10).fill(mebibyte), ...Array<number>(300).fill(10)],
      [...Array<number>(300).fill(10), ...Array<number>(10).fill(mebibyte)],
      Array.from({ length: 60 }, (_, i) => (i % 3 === 0 ? 700_000 : 5_000)),
    ]) {
      const { name, subject } = await stream();
      const frames = sizes.map((size, i) => Buffer.concat([Buffer.from(`${i}:`), Buffer.alloc(size)]));
      await publish(subject, frames);
      for (const limit of [1_000, 50, 3]) {
        const run = await last(name, limit);
        expect(run.lastSeq).toBe(frames.length);
        expectNewest(run, frames, limit);
      }
    }
  });

  test("frames of any sizes all come exactly once over several pages", async () => {
    const { name, subject } = await stream();
    const frames = Array.from({ length: 40 }, (_, i) => randomBytes((i * 7_919_777) % mebibyte));
    await publish(subject, frames);
    const pages: Uint8Array[][] = [];
    for (let before: number | null = null; ; ) {
      const run = await last(name, 1_000, before);
      expectNewest(run, frames.slice(0, before === null ? undefined : before - 1), 1_000);
      pages.unshift([...run.frames]);
      if (!run.more) break;
      before = run.firstSeq;
    }
    expect(pages.length).toBeGreaterThan(1);
    expect(pages.flat().map((frame) => Buffer.from(frame).toString("hex"))).toEqual(
      frames.map((f) => f.toString("hex")),
    );
  }, 20_000);
});

/** Expects as many of the newest frames as fit (at least one), without leaving out any that would fit. */
function expectNewest(run: { frames: readonly Uint8Array[] }, frames: readonly Buffer[], limit: number): void {
  const sizes = run.frames.map(({ byteLength }) => byteLength);
  const bytes = sizes.reduce((sum, size) => sum + size, 0);
  const newest = frames.slice(frames.length - run.frames.length);
  expect(sizes).toEqual(newest.map(({ byteLength }) => byteLength));
  expect(Buffer.concat([...run.frames]).equals(Buffer.concat(newest))).toBe(true);
  expect(run.frames.length).toBeGreaterThan(0);
  if (run.frames.length > 1) expect(bytes).toBeLessThanOrEqual(historyBytesMax);
  const next = frames[frames.length - run.frames.length - 1];
  if (next !== undefined && run.frames.length < limit) expect(bytes + next.byteLength).toBeGreaterThan(historyBytesMax);
}

describe("reading forwards", () => {
  test("returns the first messages after a sequence, and pages cover each once, whatever was deleted", async () => {
    const { name, subject } = await stream();
    await publish(subject, numbered(40));
    const gone = new Set([1, 2, 7, 20, 21, 22, 23, 24, 39, 40]);
    for (const seq of gone) await remove(name, seq);
    const left = range(1, 40).filter((text) => !gone.has(Number(text)));
    for (const limit of [1, 4, 1_000]) {
      const pages: string[][] = [];
      for (let after = 0; ; ) {
        const run = await next(name, limit, { seq: after + 1 });
        expect(run.seqs.map(String)).toEqual(texts(run));
        pages.push(texts(run));
        if (!run.more) break;
        after = run.lastSeq;
      }
      expect(pages.flat()).toEqual(left);
    }
    for (const after of [38, 39, 40, 1_000]) expect((await next(name, 10, { seq: after + 1 })).frames).toEqual([]);
  });

  test("from a time on returns what was stored then or later", async () => {
    const { name, subject } = await stream();
    await publish(subject, numbered(3));
    const at = Date.now() + 1;
    while (Date.now() <= at) await Bun.sleep(1);
    await publish(subject, [Buffer.from("4"), Buffer.from("5")]);
    expect(texts(await next(name, 10, { at }))).toEqual(["4", "5"]);
    expect(texts(await next(name, 1, { at }))).toEqual(["4"]);
    expect(texts(await next(name, 10, { at: 0 }))).toEqual(range(1, 5));
    expect((await next(name, 10, { at: 9_000_000_000_000 })).frames).toEqual([]);
    await remove(name, 4);
    expect(texts(await next(name, 10, { at }))).toEqual(["5"]);
  });

  test("keeps the oldest frames within 8 MiB", async () => {
    const { name, subject } = await stream();
    await publish(
      subject,
      Array.from({ length: 12 }, (_, i) => Buffer.alloc(mebibyte, i)),
    );
    const run = await next(name, 1_000, { seq: 2 });
    expect(run.frames.map((frame) => frame[0])).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(run).toMatchObject({ firstSeq: 2, lastSeq: 9, more: true });
    const rest = await next(name, 1_000, { seq: 10 });
    expect(rest.frames.map((frame) => frame[0])).toEqual([9, 10, 11]);
    expect(rest.more).toBe(false);
  });
});

describe("a run of deleted messages costs one step, however long it is:", () => {
  /** Counts the requests to JetStream. */
  class CountingReader extends BatchedReader {
    reads = 0;
    bytes = 0;
    override async read(...args: Parameters<BatchedReader["read"]>) {
      const batch = await super.read(...args);
      this.reads += 1;
      this.bytes += batch.messages.reduce((sum, { data }) => sum + data.byteLength, 0);
      return batch;
    }
    override lastUpTo(...args: Parameters<BatchedReader["lastUpTo"]>) {
      this.reads += 1;
      return super.lastUpTo(...args);
    }
    override last(...args: Parameters<BatchedReader["last"]>) {
      this.reads += 1;
      return super.last(...args);
    }
  }
  const removeAll = async (name: string, seqs: readonly number[]) => {
    const body = (seq: number) => ({ seq, no_erase: true });
    await Promise.all(seqs.map((seq) => js.call(`STREAM.MSG.DELETE.${name}`, body(seq))));
  };
  const from = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, i) => first + i);

  test("one long run, in the middle, at the end, and before a page", async () => {
    const { name, subject } = await stream();
    await publish(subject, numbered(2_000));
    await removeAll(name, [...from(20, 1_900), ...from(1_981, 2_000)]);
    const counting = new CountingReader(js);
    const run = await lastFrames(counting, name, await stateOf(name), { limit: 90, before: null });
    expect(texts(run)).toEqual([...range(10, 19), ...range(1_901, 1_980)]);
    expect(counting.reads).toBeLessThanOrEqual(16);
    counting.reads = 0;
    const before = await lastFrames(counting, name, await stateOf(name), { limit: 5, before: 1_800 });
    expect(texts(before)).toEqual(range(15, 19));
    expect(counting.reads).toBeLessThanOrEqual(10);
  }, 60_000);

  test("many runs: the reads grow with the runs, and little is read twice", async () => {
    const { name, subject } = await stream();
    const frames = Array.from({ length: 2_000 }, (_, i) => Buffer.alloc(2_000, i % 251));
    await publish(subject, frames);
    // Every hundredth stays, and the newest hundred.
    await removeAll(
      name,
      from(1, 1_900).filter((seq) => seq % 100 !== 0),
    );
    const counting = new CountingReader(js);
    const run = await lastFrames(counting, name, await stateOf(name), { limit: 119, before: null });
    expect(run.frames).toHaveLength(119);
    expect(run.more).toBe(false);
    expect(counting.reads).toBeLessThanOrEqual(19 * 5);
    expect(counting.bytes).toBeLessThanOrEqual(4 * 119 * 2_000);
  }, 60_000);
});

describe("a read that JetStream does not answer fails as unavailable, instead of returning a shorter list:", () => {
  test("a missing stream", async () => {
    const state = { messages: 5, bytes: 500, first_seq: 1, last_seq: 5 };
    const read = lastFrames(reader, "TEST_NOT_THERE", state, { limit: 5, before: null });
    expect(
      await read.then(
        () => "read",
        (error: { code?: string }) => error.code,
      ),
    ).toBe("unavailable");
  });

  test("a closed connection", async () => {
    const { name, subject } = await stream();
    await publish(subject, numbered(3));
    const state = await stateOf(name);
    const pass = secretsOf(running.server).passwords.BUS ?? "";
    const own = await connect({ servers: new URL(running.server.ready.nats).host, user: "unibus-bus", pass });
    const ownReader = new BatchedReader(new JetStream(own, streamErrors));
    expect((await lastFrames(ownReader, name, state, { limit: 5, before: null })).frames).toHaveLength(3);
    await own.close();
    const read = lastFrames(ownReader, name, state, { limit: 5, before: null });
    expect(
      await read.then(
        () => "read",
        (error: { code?: string }) => error.code,
      ),
    ).toBe("unavailable");
  });
});
