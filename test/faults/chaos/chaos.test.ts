/**
 * Chaos test: three nodes under load while they are killed, paused, partitioned and given wrong clocks, one after the
 * other. Acknowledged writes must survive, and removed users must stay out. `npm run soak -- chaos` takes 10 minutes,
 * `bun run chaos -- --minutes N` any time. Source: docs/threat-model.md.
 */
import { expect, test } from "bun:test";
import { isSoak } from "../../support/soak.ts";
import { runChaos } from "./run.ts";

const seed = Number(process.env.UNIBUS_CHAOS_SEED ?? Math.floor(Math.random() * 1e9));
/** Set by `bun run chaos`. */
const givenMs = process.env.UNIBUS_CHAOS_MS;
const forMs = Number(givenMs ?? (isSoak("chaos") ? 600_000 : 30_000));
const isFull = givenMs !== undefined || isSoak("chaos");
/** Extra time for the start, the last fault and the final reads. */
const aroundMs = 180_000;

test(
  `under random faults no acknowledged write is lost and no removed user gets in (UNIBUS_CHAOS_SEED=${seed})`,
  async () => {
    const { violations, surprises, lines, checks, done } = await runChaos({ seed, forMs, isFull });
    console.log([`chaos, UNIBUS_CHAOS_SEED=${seed}`, ...lines].join("\n  "));
    expect([...violations, ...surprises]).toEqual([]);
    for (const way of ["http", "login"]) expect(checks[way]).toBeGreaterThan(0);
    for (const count of Object.values(done)) expect(count).toBeGreaterThan(0);
  },
  forMs + aroundMs,
);
