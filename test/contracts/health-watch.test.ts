/** Plugin health is logged once per state change, and concurrent health requests share one check. */
import { expect, test } from "bun:test";
import { HealthWatch } from "../../src/contracts/health-watch.ts";
import type { ReadinessReport } from "../../src/wire/api.ts";

function watched() {
  const lines: string[] = [];
  let looks = 0;
  let detail: string | null = null;
  const line = (text: string) => void lines.push(text);
  const look = async (): Promise<ReadinessReport> => {
    looks += 1;
    const store = detail === null ? { ok: true } : { ok: false, detail };
    return { ready: detail === null, plugins: { store, other: { ok: true } } };
  };
  const watch = new HealthWatch(look, { debug: line, info: line, warn: line, error: line });
  const lookAt = async (next: string | null) => {
    detail = next;
    await watch.look();
  };
  return { watch, lines, lookAt, looks: () => looks };
}

test("a plugin's failure, each new cause, and its recovery are logged with one line each", async () => {
  const { lines, lookAt } = watched();
  await lookAt(null);
  for (const detail of ["3 of 10 restored", "4 of 10 restored", "full", "full", null, null, "full"])
    await lookAt(detail);
  const full = "not ready: store: full";
  expect(lines).toEqual(["not ready: store: 3 of 10 restored", full, "works again: store", full]);
});

test("nothing is logged before the bus was ready once", async () => {
  const { lines, lookAt } = watched();
  await lookAt("starting");
  expect(lines).toEqual([]);
});

test("concurrent callers share one check", async () => {
  const { watch, looks } = watched();
  await Promise.all([watch.look(), watch.look(), watch.look()]);
  expect(looks()).toBe(1);
  await watch.look();
  expect(looks()).toBe(2);
});
