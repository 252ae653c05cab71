/** When the start deadline of nats-server is renewed. test/faults/start-many-rooms.test.ts uses a real nats-server. */
import { expect, test } from "bun:test";
import { mkdirSync, readFileSync } from "node:fs";
import { StartProgress, streamsIn } from "../../../src/plugins/nats-embedded/start-progress.ts";
import { Folder } from "../../support/executable.ts";

/** A pid without a process. */
const unusedPid = 2 ** 30;

function watched(pid: number, folder: Folder) {
  let now = 0;
  const reports: string[] = [];
  const progress = new StartProgress({
    ...{ timeoutMs: 1_000, pid, storeDir: folder.path },
    onProgress: (detail) => reports.push(detail),
    elapsedMs: () => now,
  });
  const after = (ms: number) => {
    now += ms;
    return progress.isOver();
  };
  return { progress, reports, after };
}

function withStreams(count: number): Folder {
  const folder = new Folder();
  for (let n = 0; n < count; n++) {
    mkdirSync(folder.file("jetstream", n % 2 === 0 ? "BUS" : "CTL", "streams", `S${n}`), { recursive: true });
  }
  return folder;
}

test("a log line about a stream extends the deadline, and the number of restored streams is reported", () => {
  using folder = withStreams(3);
  const { progress, reports, after } = watched(unusedPid, folder);
  expect(after(900)).toBe(false);
  progress.see("[INF]   Starting restore for stream 'BUS > S0'");
  expect(after(900)).toBe(false);
  progress.see("[INF]   Restored 1,234 messages for stream 'BUS > S0' in 3ms");
  expect(after(900)).toBe(false);
  expect(after(101)).toBe(true);
  const detail = (count: number) => `nats-server is starting: ${count} of 3 streams restored`;
  expect(reports).toEqual([detail(0), detail(1)]);
});

test("a log line that is not about streams does not extend it", () => {
  using folder = withStreams(1);
  const { progress, after } = watched(unusedPid, folder);
  expect(after(900)).toBe(false);
  for (const line of ["[ERR] Restored 1 messages for stream 'a'", "[WRN] waiting", "[INF] Server ID", "[INF]"]) {
    progress.see(line);
  }
  expect(after(101)).toBe(true);
});

test("bytes read by nats-server extend the deadline, where the system counts them", () => {
  using folder = withStreams(1);
  const { after } = watched(process.pid, folder);
  const counts = process.platform === "linux";
  for (let round = 0; round < 5; round++) {
    expect(after(900)).toBe(!counts && round > 0);
    readFileSync(import.meta.path);
  }
});

test("after its end a watch reports no line that is read later", () => {
  using folder = withStreams(1);
  const { progress, reports } = watched(unusedPid, folder);
  progress.end();
  progress.see("[INF]   Restored 1,234 messages for stream 'BUS > S0' in 3ms");
  expect(reports).toEqual([]);
});

test("the streams of every account are counted, and a missing folder has none", () => {
  using folder = withStreams(5);
  expect(streamsIn(folder.path)).toBe(5);
  expect(streamsIn(folder.file("nowhere"))).toBe(0);
});
