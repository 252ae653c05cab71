/**
 * The nonce journal, which stops replays of signed requests: lifetimes under clock jumps, limits per user and in total,
 * and the file that makes nonces survive restarts and crashes.
 */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { appendFileSync, existsSync, readFileSync, renameSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { NonceJournal, nonceLifeMs, noncesMax } from "../../../src/plugins/auth/nonces.ts";
import { isUnibusError } from "../../../src/wire/errors.ts";
import { skewSMax } from "../../../src/wire/sign.ts";
import { Folder } from "../../support/executable.ts";

const startMs = 1_800_000_000_000;
const recordBytes = 56;
const ana = "aa".repeat(32);
const bob = "bb".repeat(32);

let folder: Folder;
let open: NonceJournal[] = [];

beforeEach(() => {
  elapsedMs = 0;
  folder = new Folder();
});
afterEach(() => {
  for (const journal of open) journal.close();
  open = [];
  folder[Symbol.dispose]();
});

/** The real time that has passed: it follows the clock unless a test makes the clock jump. */
let elapsedMs = 0;

function journalAt(now = startMs): NonceJournal {
  elapsedMs = Math.max(elapsedMs, now - startMs);
  const journal = new NonceJournal(folder.path, now, () => elapsedMs);
  open.push(journal);
  return journal;
}
const fresh = () => randomBytes(16).toString("base64");
const nonceOf = (n: number) => {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt32BE(n);
  return bytes.toString("base64");
};

/** Claims a nonce. Null if it is accepted, else the error code. */
function claim(journal: NonceJournal, nonce: string, user = ana, now = startMs): string | null {
  elapsedMs = Math.max(elapsedMs, now - startMs);
  return claimAfterJump(journal, nonce, user, now);
}

/** Claims a nonce at clock time `now` without real time passing. */
function claimAfterJump(journal: NonceJournal, nonce: string, user: string, now: number): string | null {
  try {
    journal.claim(nonce, user, now);
    return null;
  } catch (error) {
    return isUnibusError(error) ? error.code : String(error);
  }
}
const fileBytes = (name = "nonces") => statSync(folder.file(name)).size;

describe("a nonce", () => {
  test("is accepted once, from the first request that presents it", () => {
    const journal = journalAt();
    const nonce = fresh();
    expect(claim(journal, nonce)).toBeNull();
    expect(claim(journal, nonce)).toBe("unauthenticated");
    expect(claim(journal, nonce, bob)).toBe("unauthenticated");
    expect(claim(journal, fresh(), bob)).toBeNull();
    expect(journal.size).toBe(2);
  });

  test("is kept for as long as any accepted clock could use it, and forgotten after that", () => {
    const journal = journalAt();
    const nonce = fresh();
    // A signer whose clock is ahead by the maximum skew signs it now.
    expect(nonceLifeMs).toBeGreaterThan(2 * skewSMax * 1_000);
    expect(claim(journal, nonce)).toBeNull();
    expect(claim(journal, nonce, ana, startMs + 2 * skewSMax * 1_000)).toBe("unauthenticated");
    expect(claim(journal, nonce, ana, startMs + nonceLifeMs - 1)).toBe("unauthenticated");
    expect(claim(journal, nonce, ana, startMs + nonceLifeMs + 2_000)).toBeNull();
    expect(journal.size).toBe(1);
  });

  test("is kept when the clock jumps back, and again when it comes forward", () => {
    const journal = journalAt();
    const [first, second] = [fresh(), fresh()];
    expect(claim(journal, first)).toBeNull();
    const back = startMs - 3_600_000;
    expect(claim(journal, second, ana, back)).toBeNull();
    for (const now of [back, back + nonceLifeMs, startMs, startMs + nonceLifeMs - 1]) {
      expect(claim(journal, first, ana, now)).toBe("unauthenticated");
    }
    expect(claim(journal, second, ana, startMs)).toBe("unauthenticated");
  });

  test("is kept when the clock jumps ahead, as long as it could jump back in time, and forgotten after that", () => {
    const journal = journalAt();
    const nonce = fresh();
    expect(claim(journal, nonce)).toBeNull();
    for (let jumps = 0; jumps < 3; jumps++) {
      expect(claimAfterJump(journal, fresh(), ana, startMs + 86_400_000)).toBeNull();
      expect(claimAfterJump(journal, nonce, ana, startMs)).toBe("unauthenticated");
    }
    expect(journal.size).toBe(4);
    expect(claim(journalAt(), nonce)).toBe("unauthenticated");
    elapsedMs = nonceLifeMs;
    expect(claimAfterJump(journal, fresh(), ana, startMs + nonceLifeMs + 2_000)).toBeNull();
    expect(claimAfterJump(journal, nonce, ana, startMs + nonceLifeMs + 2_000)).toBeNull();
  });
});

describe("limits", () => {
  test(`one user has at most ${noncesMax.user} live nonces and then must wait, while others need not`, () => {
    const journal = journalAt();
    for (let n = 0; n < noncesMax.user; n++) journal.claim(nonceOf(n), ana, startMs + n / 1_000);
    expect(claim(journal, fresh())).toBe("rate_limited");
    expect(claim(journal, nonceOf(7))).toBe("unauthenticated");
    expect(claim(journal, fresh(), bob)).toBeNull();
    expect(journal.size).toBe(noncesMax.user + 1);
    // Refused nonces take no space, in memory or on disk.
    expect(fileBytes()).toBe((noncesMax.user + 1) * recordBytes);
    expect(claim(journal, fresh(), ana, startMs + nonceLifeMs + 2_000)).toBeNull();
    expect(journal.size).toBe(1);
  });

  test("the nonces of all users together are bounded, and accepted again once some expire", () => {
    const journal = new NonceJournal(folder.path, startMs, () => elapsedMs, { user: 4, all: 10 });
    open.push(journal);
    const users = Array.from({ length: 5 }, (_, n) => `${n}`.repeat(64));
    const outcomes = users.flatMap((user) => [0, 1, 2].map(() => claim(journal, fresh(), user, startMs + 1_000)));
    expect(outcomes).toEqual([...Array(10).fill(null), ...Array(5).fill("unavailable")]);
    expect([journal.size, fileBytes()]).toEqual([10, 10 * recordBytes]);
    expect(claim(journal, fresh(), users[0], startMs + nonceLifeMs + 3_000)).toBeNull();
  });

  test("the limit of a user survives a restart", () => {
    const journal = journalAt();
    for (let n = 0; n < noncesMax.user; n++) journal.claim(nonceOf(n), ana, startMs);
    const next = journalAt(startMs + 1_000);
    expect(next.size).toBe(noncesMax.user);
    expect(claim(next, fresh(), ana, startMs + 1_000)).toBe("rate_limited");
    expect(claim(next, fresh(), bob, startMs + 1_000)).toBeNull();
  });

  test("expiry keeps up with use: a steady user is never refused", () => {
    const journal = journalAt();
    const perSecond = 300;
    for (let second = 0; second < 200; second++) {
      elapsedMs = second * 1_000;
      for (let i = 0; i < perSecond; i++) journal.claim(nonceOf(second * perSecond + i), ana, startMs + second * 1_000);
    }
    expect(journal.size).toBeLessThan((nonceLifeMs / 1_000 + 2) * perSecond);
    expect(journal.size).toBeGreaterThan((nonceLifeMs / 1_000 - 2) * perSecond);
  });
});

describe("the journal file", () => {
  test("is written before a nonce is accepted, and readable by its owner only", () => {
    const journal = journalAt();
    expect(fileBytes()).toBe(0);
    claim(journal, fresh());
    expect(fileBytes()).toBe(recordBytes);
    expect(statSync(folder.file("nonces")).mode & 0o777).toBe(0o600);
  });

  test("restores the live nonces after a restart, and nothing else", () => {
    const journal = journalAt();
    const [old, young] = [fresh(), fresh()];
    expect(claim(journal, old)).toBeNull();
    expect(claim(journal, young, bob, startMs + 40_000)).toBeNull();
    const later = startMs + nonceLifeMs + 3_000;
    const next = journalAt(later);
    expect(next.size).toBe(1);
    expect(claim(next, young, bob, later)).toBe("unauthenticated");
    expect(claim(next, old, ana, later)).toBeNull();
  });

  test("survives one restart after another", () => {
    const nonce = fresh();
    claim(journalAt(), nonce);
    for (let i = 1; i <= 5; i++) {
      const now = startMs + i * 10_000;
      expect(claim(journalAt(now), nonce, ana, now)).toBe("unauthenticated");
    }
    expect(fileBytes()).toBe(recordBytes);
  });

  test("with a truncated last record restores the complete ones", () => {
    const journal = journalAt();
    const nonces = [fresh(), fresh(), fresh()];
    for (const nonce of nonces) claim(journal, nonce);
    truncateSync(folder.file("nonces"), 3 * recordBytes - 1);
    const next = journalAt();
    expect(nonces.map((nonce) => claim(next, nonce))).toEqual(["unauthenticated", "unauthenticated", null]);
    expect(claim(journalAt(), nonces[2] ?? "")).toBe("unauthenticated");
  });

  test("that is empty, or ends in garbage, does not stop the server", () => {
    writeFileSync(folder.file("nonces"), "");
    expect(journalAt().size).toBe(0);
    const journal = journalAt();
    const nonce = fresh();
    claim(journal, nonce);
    appendFileSync(folder.file("nonces"), Buffer.alloc(recordBytes - 1, 0xff));
    const next = journalAt();
    expect(claim(next, nonce)).toBe("unauthenticated");
    writeFileSync(folder.file("nonces"), Buffer.alloc(10 * recordBytes, 0xff));
    expect(journalAt().size).toBe(0);
  });

  test("rotates with a second file, so that neither grows without limit and no rotation loses a live nonce", () => {
    const journal = journalAt();
    const all: { nonce: string; at: number }[] = [];
    for (let i = 0; i < 40; i++) {
      const at = startMs + i * 7_000;
      const nonce = fresh();
      expect(claim(journal, nonce, ana, at)).toBeNull();
      all.push({ nonce, at });
      expect(fileBytes()).toBeLessThan(12 * recordBytes);
    }
    expect(existsSync(folder.file("nonces.old"))).toBe(true);
    expect(readFileSync(folder.file("nonces.old")).byteLength % recordBytes).toBe(0);
    const now = startMs + 39 * 7_000;
    const living = all.filter(({ at }) => at + nonceLifeMs > now);
    expect(living.length).toBeGreaterThan(5);
    for (const { nonce } of living) expect(claim(journal, nonce, ana, now)).toBe("unauthenticated");
    const next = journalAt(now);
    for (const { nonce } of living) expect(claim(next, nonce, ana, now)).toBe("unauthenticated");
    expect(existsSync(folder.file("nonces.old"))).toBe(false);
  });

  test("is restored from both files after an interrupted rotation", () => {
    const journal = journalAt();
    const nonce = fresh();
    claim(journal, nonce);
    // As after a kill between the two renames: the newer file does not exist yet.
    renameSync(folder.file("nonces"), folder.file("nonces.old"));
    writeFileSync(folder.file("nonces.new"), Buffer.alloc(30));
    const next = journalAt();
    expect(claim(next, nonce)).toBe("unauthenticated");
    expect(existsSync(folder.file("nonces.new"))).toBe(false);
  });

  test("that cannot be written makes the server refuse every request", () => {
    const journal = journalAt();
    journal.close();
    expect(claim(journal, fresh())).not.toBeNull();
    open = [];
  });
});
