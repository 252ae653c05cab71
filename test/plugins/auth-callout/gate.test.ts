/** The login gate admits a login or drops it; no login waits longer than its client does, and the queue is bounded. */
import { expect, test } from "bun:test";
import { LoginGate } from "../../../src/plugins/auth-callout/gate.ts";

const passage = (client: string) => ({ client, cameMs: performance.now() });

test("logins from one address are admitted at its rate, and refused if they would wait over half a second", async () => {
  const gate = new LoginGate({ logins: 10, failed: 10 });
  // A burst of two seconds' worth of logins, and those that fit into the maximum wait.
  const turns = await Promise.all(Array.from({ length: 200 }, () => gate.turn(passage("a"), "logins")));
  const passed = turns.filter(Boolean).length;
  expect(passed).toBeGreaterThanOrEqual(20);
  expect(passed).toBeLessThanOrEqual(26);
});

test("failed logins use their own bucket, and none of the budget of a user at the same address", async () => {
  const gate = new LoginGate({ logins: 5, failed: 1 });
  await Promise.all(Array.from({ length: 100 }, () => gate.turn(passage("a"), "failed")));
  expect(await gate.turn(passage("a"), "logins")).toBe(true);
});

test("at most 20,000 logins wait for their turn, over all addresses", async () => {
  const gate = new LoginGate({ logins: 4, failed: 4 });
  const turns: Promise<boolean>[] = [];
  // Each address has a burst of 8 that pass at once, and 2 that wait. Use a few more addresses to be safe.
  for (let client = 0; client < 10_100; client++) {
    for (let i = 0; i < 10; i++) turns.push(gate.turn(passage(`c${client}`), "logins"));
  }
  const lateOnes = Array.from({ length: 8 }, () => gate.turn(passage("late"), "logins"));
  expect(await Promise.all(lateOnes)).toEqual(Array.from({ length: 8 }, () => false));
  await Promise.all(turns);
  expect(await gate.turn(passage("later"), "logins")).toBe(true);
});
