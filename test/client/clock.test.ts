/**
 * The client's estimate of the bus's clock: how the first reply sets it, how it advances by the monotonic clock, and
 * when a later reply or a sleep corrects it. All clocks are fakes. Source: docs/protocol/requests.md.
 */
import { describe, expect, test } from "bun:test";
import { BusClock, type BusClockOptions } from "../../src/client/transport/clock.ts";
import { isCleartext } from "../../src/client/transport/http.ts";
import type { UnibusError } from "../../src/wire/errors.ts";

const noon = Date.UTC(2026, 10, 30, 12);
const [second, minute, hour] = [1_000, 60_000, 3_600_000];
const secure = "https://bus.example.org";

/** A computer with a clock, and a bus whose clock differs. */
function scene(options: BusClockOptions = {}, url = secure) {
  const now = { wallMs: noon, steadyMs: 5_000 };
  const warnings: string[] = [];
  const moved: UnibusError[] = [];
  const own = { wallMs: () => now.wallMs, steadyMs: () => now.steadyMs };
  const clock = new BusClock({ own, onWarning: (warning) => warnings.push(warning), ...options });
  clock.onMoved = (error) => moved.push(error);
  const pass = (ms: number) => {
    now.wallMs += ms;
    now.steadyMs += ms;
  };
  /** Feeds in a reply of a bus whose clock is `aheadMs` ahead when the reply arrives. */
  const learn = (aheadMs: number, roundTripMs = 0) =>
    clock.learn({
      ...{
        url,
        isCleartext: isCleartext(url),
        timeMs: now.wallMs + aheadMs,
        sentMs: now.steadyMs - roundTripMs,
        receivedMs: now.steadyMs,
      },
    });
  return { clock, warnings, moved, now, pass, learn };
}

const codeOf = (work: () => unknown): string => {
  try {
    work();
    return "taken";
  } catch (error) {
    return (error as UnibusError).code;
  }
};

describe("the first reply of the server", () => {
  test.each([
    [0, "taken", false],
    [30 * second, "taken", false],
    [-30 * second, "taken", false],
    [31 * second, "taken", true],
    [5 * minute, "taken", true],
    [5 * minute + second, "clock_skew", false],
    [-24 * hour, "taken", true],
    [-24 * hour - second, "clock_skew", false],
  ])("whose clock is ahead by %d ms: %s", (aheadMs, outcome, warns) => {
    const { clock, warnings, learn } = scene();
    expect(codeOf(() => learn(aheadMs))).toBe(outcome);
    expect(clock.now() - noon).toBe(outcome === "taken" ? aheadMs : 0);
    expect(warnings.length > 0).toBe(warns);
  });

  test("that is refused for its time names both times and the fix", () => {
    const { learn } = scene();
    expect(() => learn(2 * hour + 3 * minute)).toThrow(
      "the server's clock is 2 h 3 min ahead of this computer's: server 2026-11-30T14:03:00Z, this computer 2026-11-30T12:00:00Z " +
        "(set this computer's clock, or use the server's with --bus-clock, in a program busClock: true)",
    );
  });

  test.each([2 * hour, -48 * hour, 365 * 24 * hour])("that is ahead by %d ms is followed with busClock", (aheadMs) => {
    const { clock, warnings, learn } = scene({ follows: true });
    expect(learn(aheadMs)).toBe(true);
    expect([clock.now() - noon, clock.isSure, warnings.length]).toEqual([aheadMs, false, 1]);
  });

  test.each([31 * second, -31 * second, 4 * minute, -2 * hour])(
    "over http from another machine is refused when it is ahead by %d ms",
    (aheadMs) => {
      for (const follows of [false, true]) {
        const { clock, learn } = scene({ follows }, "http://bus.example.org");
        expect(() => learn(aheadMs)).toThrow(
          "(set this computer's clock; the server's is not trusted over plain http)",
        );
        expect(clock.now()).toBe(noon);
      }
      const local = scene({}, "http://127.0.0.1:1");
      expect(local.learn(aheadMs)).toBe(true);
      expect(local.clock.now() - noon).toBe(aheadMs);
    },
  );

  test("over http from another machine leaves the computer's clock in use if they are close", () => {
    const { clock, learn } = scene({}, "http://bus.example.org");
    expect(learn(29 * second)).toBe(true);
    expect(clock.now()).toBe(noon);
  });

  test("is corrected for its round-trip time", () => {
    for (const [aheadMs, roundTripMs, offset] of [
      [-3 * second, 4 * second, 0],
      [-3 * second, 2 * second, -1 * second],
      [3 * second, 4 * second, 3 * second],
    ] as const) {
      const { clock, learn } = scene();
      learn(aheadMs, roundTripMs);
      expect(clock.now() - noon).toBe(offset);
    }
  });

  test("without a time is not an answer", () => {
    const { clock } = scene();
    expect(() =>
      clock.learn({ url: secure, isCleartext: false, timeMs: Number.NaN, sentMs: 0, receivedMs: 0 }),
    ).toThrow("contains no time");
  });
});

describe("after the first reply", () => {
  test("time passes by the monotonic clock, even if the computer's clock is set", () => {
    const { clock, now, pass, learn } = scene();
    learn(-hour);
    pass(10 * minute);
    now.wallMs += 7 * hour;
    expect(clock.now()).toBe(noon - hour + 10 * minute);
    expect(clock.wallMs()).toBe(noon + 10 * minute + 7 * hour);
  });

  test("a later server time that differs is reported, once, and ignored", () => {
    const { clock, moved, pass, learn } = scene();
    learn(0);
    pass(minute);
    for (const aheadMs of [29 * second, -29 * second]) expect(learn(aheadMs)).toBe(false);
    expect(moved).toEqual([]);
    for (const aheadMs of [31 * second, 4 * minute, -31 * second]) expect(learn(aheadMs)).toBe(false);
    expect(moved.map(({ code, message }) => [code, message])).toEqual([
      [
        "clock_skew",
        "the server's clock jumped: it is now 31 s ahead of its previous time (ask its operator to check the clock; the change is ignored)",
      ],
    ]);
    expect(clock.now()).toBe(noon + minute);
    // Correct again, then wrong again: a second report.
    learn(0);
    learn(-hour);
    expect(moved).toHaveLength(2);
    expect(moved[1]?.message).toContain("1 h behind its previous time");
  });

  test("after a sleep, in which the monotonic clock stood still, the server's time is adopted", () => {
    const { clock, now, moved, learn } = scene();
    learn(-2 * minute);
    now.wallMs += 9 * hour;
    expect(clock.now()).toBe(noon - 2 * minute);
    expect(learn(-2 * minute)).toBe(true);
    expect([clock.now(), moved]).toEqual([noon + 9 * hour - 2 * minute, []]);
  });

  test("a server time that jumps while the computer's clock is set is ignored", () => {
    const { clock, now, moved, learn } = scene();
    learn(0);
    now.wallMs += hour;
    expect(learn(hour)).toBe(false);
    expect([clock.now(), moved.length]).toEqual([noon, 1]);
  });

  test("a clock that agrees within 10 minutes can detect late messages", () => {
    for (const [aheadMs, isSure] of [
      [0, true],
      [-10 * minute, true],
      [-10 * minute - second, false],
    ] as const) {
      const { clock, learn } = scene();
      expect(clock.isSure).toBe(true);
      learn(aheadMs);
      expect([aheadMs, clock.isSure]).toEqual([aheadMs, isSure]);
    }
  });
});
