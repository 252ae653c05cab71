/** The record of `wait`: what one wait leaves for the next one, also if it did not end by itself. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { WaitRecord } from "../../src/cli/peer/wait-record.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "unibus-waits-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Opens the record as one wait does, and closes it. */
function opened<T>(work: (record: WaitRecord) => T, device = "cli"): T {
  using record = new WaitRecord(folder, device);
  return work(record);
}

const returns = (record: WaitRecord, seq: number) => {
  record.acknowledge();
  record.returns("room", { room: "room", seq }, `ana.${seq}`);
  record.save();
};

describe("the record of a device", () => {
  test("acknowledges what was returned only when the next wait does", () => {
    opened((record) => returns(record, 5));
    opened((record) => {
      expect([record.returned, record.position("room")]).toEqual([{ room: "room", seq: 5 }, undefined]);
      record.acknowledge();
      expect([record.returned, record.position("room")]).toEqual([null, 5]);
      // Not saved: the wait is killed here.
    });
    opened((record) => expect(record.returned).toEqual({ room: "room", seq: 5 }));
    opened((record) => returns(record, 7));
    opened((record) => expect([record.position("room"), record.returned?.seq, record.last]).toEqual([5, 7, "room"]));
  });

  test("remembers the last 500 messages, so that a copy is not returned", () => {
    opened((record) => {
      for (let seq = 1; seq <= 501; seq++) record.returns("room", { room: "room", seq }, `ana.${seq}`);
      record.save();
    });
    opened((record) => expect([1, 2, 501].map((seq) => record.hasReturned(`ana.${seq}`))).toEqual([false, true, true]));
  });

  test("goes back only if the history was replaced", () => {
    opened((record) => {
      record.pass("room", 9);
      record.pass("room", 4);
      expect(record.position("room")).toBe(9);
      record.place("room", 4);
      expect(record.position("room")).toBe(4);
    });
  });

  test("is of one process at a time, and of one device", () => {
    using _ = new WaitRecord(folder, "cli");
    opened((other) => expect(other.returned).toBeNull(), "other");
    expect(() => opened(() => undefined)).toThrow("another unibus wait of the device cli is running");
  });

  test("is readable by its owner only, and a damaged one is never replaced", () => {
    opened((record) => returns(record, 1));
    const file = join(folder, "cli.json");
    expect(statSync(file).mode & 0o777).toBe(0o600);
    for (const text of [
      "",
      "{",
      "[]",
      '{"rooms":{},"returned":{"room":"r","seq":0},"last":null,"recent":[],"saved_ms":1}',
    ]) {
      writeFileSync(file, text);
      expect(() => opened(() => undefined)).toThrow(`${file} is damaged`);
      expect(readFileSync(file, "utf8")).toBe(text);
    }
  });
});
