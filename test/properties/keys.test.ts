/**
 * Keys and links, with arbitrary input: exactly the mathematically valid, canonical forms pass.
 * Source: docs/protocol/identity.md.
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { parseJoinLink } from "../../src/client/join-link.ts";
import { checkSignKey } from "../../src/contracts/signature.ts";
import { hasCode } from "../../src/wire/errors.ts";
import { joinLink } from "../../src/wire/names.ts";
import { requestText } from "../../src/wire/sign.ts";

const p = 2n ** 255n - 19n;
const d = 37095705934669439343138083508754565189542113879843219016388785533085940283555n;

function power(base: bigint, exponent: bigint): bigint {
  let result = 1n;
  for (let b = base % p, e = exponent; e > 0n; e >>= 1n, b = (b * b) % p) if (e & 1n) result = (result * b) % p;
  return result;
}

/** Euler's criterion, written literally: slow, and independent of the product's code. */
function isPoint(y: bigint): boolean {
  const quotient = (((y * y - 1n + p) % p) * power(d * y * y + 1n, p - 2n)) % p;
  return quotient === 0n || power(quotient, (p - 1n) / 2n) === 1n;
}

const isLetIn = (key: string): boolean => {
  try {
    checkSignKey(key);
    return true;
  } catch (error) {
    if (hasCode(error, "invalid")) return false;
    throw error;
  }
};

describe("a signing key", () => {
  test("is accepted if and only if it is the canonical encoding of a point", () => {
    const bytes = fc.uint8Array({ minLength: 32, maxLength: 32 });
    let points = 0;
    fc.assert(
      fc.property(bytes, (key) => {
        const number = BigInt(`0x${Buffer.from(key).reverse().toString("hex")}`) & (2n ** 255n - 1n);
        const expected = number < p && number > 1n && number !== p - 1n && isPoint(number);
        if (expected) points += 1;
        expect(isLetIn(Buffer.from(key).toString("hex"))).toBe(expected);
      }),
      { numRuns: 300 },
    );
    // About half of all numbers are points: a check that rejects all or none would fail here.
    expect(points).toBeGreaterThan(100);
    expect(points).toBeLessThan(200);
  });

  test("near the ends of the field is judged the same way", () => {
    // 2^255 - 1 is p + 18; in larger numbers the sign bit of x is set.
    for (let i = -40n; i <= 18n; i++) {
      for (const y of [i + 40n, p + i]) {
        const key = Buffer.from(y.toString(16).padStart(64, "0"), "hex").reverse().toString("hex");
        const expected = y < p && y > 1n && y !== p - 1n && isPoint(y);
        expect([y, isLetIn(key)]).toEqual([y, expected]);
      }
    }
  });
});

describe("a join link", () => {
  const token = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString("hex"));

  test("reads back as what it was made from", () => {
    const base = fc.webUrl({ validSchemes: ["https"], withFragments: false, withQueryParameters: false });
    fc.assert(
      fc.property(base, token, (url, secret) => {
        const plain = url.replace(/\/+$/, "");
        expect(parseJoinLink(joinLink(plain, secret))).toEqual({ url: plain, token: secret });
        expect(parseJoinLink(`  ${joinLink(plain, secret)}\n`)).toEqual({ url: plain, token: secret });
      }),
    );
  });

  test("is refused in plain http, unless it leads to this machine, and the error does not contain its token", () => {
    fc.assert(
      fc.property(fc.oneof(fc.domain(), fc.ipV4()), token, (host, secret) => {
        const isHere = /^127\.\d+\.\d+\.\d+$/.test(host);
        const parse = () => parseJoinLink(`http://${host}/join#${secret}`);
        if (isHere) return void expect(parse().token).toBe(secret);
        expect(parse).toThrow("does not use TLS");
        expect(parse).not.toThrow(secret);
      }),
    );
  });

  test("that is anything else is refused with a fix", () => {
    fc.assert(fc.property(fc.string(), (text) => expect(() => parseJoinLink(text)).toThrow(/\(.+\)$/)));
  });
});

test("two requests that differ in any part have different signing texts", () => {
  const line = fc.string().filter((text) => !text.includes("\n"));
  const request = fc.record({ host: line, method: line, target: line, ts: line, nonce: line, bodyHash: line });
  fc.assert(
    fc.property(request, request, (one, other) => {
      const isSame = Object.keys(one).every((key) => one[key as keyof typeof one] === other[key as keyof typeof one]);
      expect(requestText(one) === requestText(other)).toBe(isSame);
      expect(requestText(one).split("\n")).toHaveLength(7);
    }),
  );
});
