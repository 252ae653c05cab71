/** The headers of a signed request, as read by the server, and the check of their time. */
import { describe, expect, test } from "bun:test";
import { checkSkew, promisedHash, readSignature } from "../../../src/plugins/auth/request.ts";
import { isUnibusError } from "../../../src/wire/errors.ts";
import { requestText, signatureHeaders, skewSMax } from "../../../src/wire/sign.ts";

const nowMs = 1_800_000_000_500;
const fine: Readonly<Record<string, string>> = {
  [signatureHeaders.host]: "127.0.0.1:8000",
  [signatureHeaders.pub]: "AB".repeat(32),
  [signatureHeaders.ts]: "1800000000",
  [signatureHeaders.nonce]: Buffer.alloc(16, 1).toString("base64"),
  [signatureHeaders.body]: "0".repeat(64),
  [signatureHeaders.sig]: Buffer.alloc(64, 2).toString("base64"),
};
const head = (headers: Readonly<Record<string, string>>) => ({
  method: "GET",
  target: "/rooms?x=%41",
  header: (name: string) => headers[name] ?? null,
  origin: () => ({ address: "127.0.0.1", isForwarded: false }),
});
const codeOf = (act: () => unknown): string => {
  try {
    act();
    return "none";
  } catch (error) {
    return isUnibusError(error) ? `${error.code}: ${error.message}` : String(error);
  }
};

describe("the headers of a signed request", () => {
  test("are read into the text that the signature covers, with the target as sent", () => {
    const signed = readSignature(head(fine));
    expect(signed).toMatchObject({ host: "127.0.0.1:8000", signPub: "ab".repeat(32), ts: 1_800_000_000 });
    const { nonce, bodyHash, host } = signed;
    const lines = { host, method: "GET", target: "/rooms?x=%41", ts: "1800000000", nonce, bodyHash };
    expect(signed.text).toBe(requestText(lines));
  });

  const bad: Readonly<Record<keyof typeof signatureHeaders, readonly string[]>> = {
    host: ["", "A.example", "a b", "a\nb", "a/b", "a@b", "é", "x".repeat(261)],
    pub: ["", "ab", "g".repeat(64), "a".repeat(65), `${"a".repeat(63)} `, `${"a".repeat(64)}\n`],
    ts: ["", "0", "-1", "1.5", "1e9", " 1", "+1", "01", "9".repeat(13), "1800000000\n"],
    nonce: [
      "",
      "x",
      Buffer.alloc(15).toString("base64"),
      Buffer.alloc(17).toString("base64"),
      "A".repeat(22),
      "_".repeat(22),
    ],
    body: ["", "0".repeat(63), "A".repeat(64), "g".repeat(64)],
    sig: ["", ...[63, 65].map((size) => Buffer.alloc(size).toString("base64")), "A".repeat(86), "é".repeat(88)],
  };
  for (const [name, values] of Object.entries(bad) as [keyof typeof signatureHeaders, readonly string[]][]) {
    test(`${name}: a missing or malformed value is named`, () => {
      const header = signatureHeaders[name];
      const { [header]: _, ...without } = fine;
      expect(codeOf(() => readSignature(head(without)))).toMatch(`unauthenticated: the header ${header} is missing`);
      for (const value of values) {
        const said = codeOf(() => readSignature(head({ ...fine, [header]: value })));
        expect([value, said]).toEqual([value, expect.stringContaining(`unauthenticated: the header ${header} is`)]);
      }
    });
  }

  test("with other trailing bits in the base64 are malformed: a signature has exactly one encoding", () => {
    for (const [name, value] of [
      [signatureHeaders.nonce, `${"A".repeat(21)}B==`],
      [signatureHeaders.sig, `${"A".repeat(85)}B==`],
    ] as const) {
      expect(codeOf(() => readSignature(head({ ...fine, [name]: value })))).toContain("malformed");
    }
  });

  test("may promise a body hash without a signature, if it is a valid hash", () => {
    expect(promisedHash(head({ [signatureHeaders.body]: "0".repeat(64) }))).toBe("0".repeat(64));
    for (const value of ["", "x", "A".repeat(64)])
      expect(promisedHash(head({ [signatureHeaders.body]: value }))).toBeNull();
    expect(promisedHash(head({}))).toBeNull();
  });
});

describe("the clock", () => {
  test(`may be off by ${skewSMax} s either way, by the server's own milliseconds`, () => {
    const now = nowMs / 1_000;
    const seconds = [
      now - skewSMax,
      now + skewSMax,
      now,
      Math.floor(now),
      Math.ceil(now - skewSMax),
      Math.floor(now + skewSMax),
    ];
    for (const ts of seconds) expect(codeOf(() => checkSkew(ts, nowMs))).toBe("none");
    for (const ts of [now - skewSMax - 0.001, now + skewSMax + 0.001, 1, 999_999_999_999]) {
      expect(codeOf(() => checkSkew(ts, nowMs))).toStartWith("clock_skew: ");
    }
  });

  test("that jumps makes every request skewed, and the error names both times", () => {
    const jumped = nowMs + 3_600_000;
    const said = codeOf(() => checkSkew(nowMs / 1_000, jumped));
    expect(said).toContain(String(nowMs / 1_000));
    expect(said).toContain(String(Math.floor(jumped / 1_000)));
  });
});
