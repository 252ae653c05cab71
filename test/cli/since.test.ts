/** The times that `history --since` and `tail --since` accept. */
import { describe, expect, test } from "bun:test";
import { timeIn } from "../../src/cli/peer/since.ts";

const nowMs = Date.parse("2026-01-31T12:00:00Z");

describe("a time", () => {
  test.each([
    ["90s", "2026-01-31T11:58:30.000Z"],
    ["10m", "2026-01-31T11:50:00.000Z"],
    ["2h", "2026-01-31T10:00:00.000Z"],
    ["3d", "2026-01-28T12:00:00.000Z"],
    ["999999999d", "1970-01-01T00:00:00.000Z"],
    ["2026-01-31T09:30:00Z", "2026-01-31T09:30:00.000Z"],
    ["2026-01-31T09:30+02:00", "2026-01-31T07:30:00.000Z"],
    ["2026-01-31T09:30:00.5Z", "2026-01-31T09:30:00.500Z"],
  ])("%s", (text, time) => {
    expect(timeIn(text, nowMs)?.toISOString()).toBe(time);
  });

  test("without a zone is local, and a date alone is its midnight", () => {
    expect(timeIn("2026-01-31 09:30")).toEqual(new Date(2026, 0, 31, 9, 30));
    expect(timeIn("2026-01-31")).toEqual(new Date(2026, 0, 31));
  });

  test.each([
    "",
    "10",
    "m",
    "1.5h",
    "-1h",
    "10 m",
    "yesterday",
    "2026-13-01",
    "2026-02-30T25:00",
    "31.01.2026",
    "1e3s",
  ])("%p is not one", (text) => {
    expect(timeIn(text, nowMs)).toBeNull();
  });
});
