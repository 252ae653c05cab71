/** How long logins wait, and how many: a login is let through or dropped, and none waits longer than its client. */
import { expect, test } from "bun:test";
import { LoginGate } from "../../../src/plugins/auth-callout/gate.ts";

const passage = (client: string) => ({ client, cameMs: performance.now() });

test("logins of one address are let through at its rate; what would wait over half a second is not", async () => {
  const gate = new LoginGate({ logins: 10, failed: 10 });
  // A burst of two seconds' worth, and what fits into the wait.
  const turns = await Promise.all(Array.from({ length: 200 }, () => gate.turn(passage("a"), "logins")));
  const passed = turns.filter(Boolean).length;
  expect(passed).toBeGreaterThanOrEqual(20);
  expect(passed).toBeLessThanOrEqual(26);
});

test("failed logins take from their own bucket, and nothing from those of a user at the same address", async () => {
  const gate = new LoginGate({ logins: 5, failed: 1 });
  await Promise.all(Array.from({ length: 100 }, () => gate.turn(passage("a"), "failed")));
  expect(await gate.turn(passage("a"), "logins")).toBe(true);
});

test("at most 20,000 logins wait for their turn, over all addresses", async () => {
  const gate = new LoginGate({ logins: 4, failed: 4 });
  const turns: Promise<boolean>[] = [];
  // Each address has a burst of 8 that does not wait, and 2 that do. There are some more, in case one waits less.
  for (let client = 0; client < 10_100; client++) {
    for (let i = 0; i < 10; i++) turns.push(gate.turn(passage(`c${client}`), "logins"));
  }
  const lateOnes = Array.from({ length: 8 }, () => gate.turn(passage("late"), "logins"));
  expect(await Promise.all(lateOnes)).toEqual(Array.from({ length: 8 }, () => false));
  await Promise.all(turns);
  expect(await gate.turn(passage("later"), "logins")).toBe(true);
});
