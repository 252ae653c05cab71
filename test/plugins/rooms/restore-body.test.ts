/** Limits on reading the body of a restoration, which may have 32 MiB: its time and the size of each element. */
import { afterEach, beforeEach, expect, spyOn, test } from "bun:test";
import { TimeSlices } from "../../../src/lib/time-slices.ts";
import { readRestoration } from "../../../src/plugins/rooms/way-back/body.ts";
import { bytesOf } from "../../../src/wire/encoding.ts";
import { isUnibusError } from "../../../src/wire/errors.ts";

/** The mocked monotonic clock, in milliseconds. */
let nowMs = 1_000_000;
let clock: ReturnType<typeof spyOn>;

beforeEach(() => {
  clock = spyOn(performance, "now").mockImplementation(() => nowMs);
});
afterEach(() => clock.mockRestore());

/** A body in pieces, one every `everyMs` milliseconds. */
async function* pieces(text: string, everyMs: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < text.length; at += 4) {
    nowMs += everyMs;
    yield bytesOf(text.slice(at, at + 4));
  }
}

async function outcome(text: string, everyMs: number): Promise<unknown> {
  try {
    return await readRestoration(pieces(text, everyMs), new TimeSlices(600_000));
  } catch (error) {
    return isUnibusError(error) ? error.code : error;
  }
}

const empty = { statements: [], members: [], keys: [] };
const body = JSON.stringify(empty);

test("the body of a restoration must arrive within a minute, even if it arrives steadily", async () => {
  const count = Math.ceil(body.length / 4);
  expect(await outcome(body, Math.floor(60_000 / count))).toEqual(empty);
  expect(await outcome(body, Math.ceil(61_000 / count))).toBe("timeout");
});

test("an element of more than 128 KiB is refused before it has arrived completely", async () => {
  let came = 0;
  async function* endless(): AsyncGenerator<Uint8Array> {
    yield bytesOf('{"statements":[{"text":"');
    for (; came < 1_000; came++) yield bytesOf("x".repeat(1_024));
  }
  const reading = readRestoration(endless(), new TimeSlices(600_000));
  await expect(reading).rejects.toMatchObject({ code: "invalid" });
  expect(came).toBeLessThanOrEqual(129);
});
