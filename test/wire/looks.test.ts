/** Which handles look alike, by the confusables data of Unicode (UTS 39). Source: docs/protocol/identity.md. */
import { describe, expect, test } from "bun:test";
import { gzipSync } from "node:zlib";
import { confusables } from "../../src/wire/confusables.ts";
import { lookAlike, looksOf, skeleton } from "../../src/wire/looks.ts";
import { lookCases } from "../support/handle-cases.ts";

describe("looks", () => {
  test.each(lookCases.map((one) => [one.name, one] as const))("%s: look alike", (_, { one, other }) => {
    expect(lookAlike(one, other)).toBe(true);
    expect(lookAlike(other, one)).toBe(true);
  });

  test("different names do not look alike", () => {
    const names = ["bob", "rob", "alice", "Alicia", "张伟", "张衛", "🦊", "🐺", "René", "Rene", "иван", "مريم"];
    for (const one of names) {
      expect(names.filter((other) => lookAlike(one, other))).toEqual([one]);
    }
  });

  test("skeletons are those of UTS 39", () => {
    // Greek, Cyrillic, Armenian, Hebrew, punctuation; m and rn; multi-step entries of the data take one step here.
    expect(skeleton("ραураl")).toBe("paypal");
    expect(skeleton("modern")).toBe("rnodern");
    expect(skeleton("օᴏо0")).toBe("oooO");
    expect(skeleton("a\u2010b\u2019c")).toBe("a-b'c");
    expect(skeleton("וʼ")).toBe("l'");
  });

  test("case does not matter, even where it changes the number of letters", () => {
    expect(lookAlike("Straße", "STRASSE")).toBe(true);
    expect(lookAlike("ΟΔΟΣ", "οδος")).toBe(true);
    expect(looksOf("M")).toEqual({ look1: "rn", look2: "m" });
  });

  test("the data for all clients is at most 6 kB compressed", () => {
    expect(gzipSync(confusables, { level: 9 }).byteLength).toBeLessThan(6_000);
  });
});
