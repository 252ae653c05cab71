/** HMAC and HKDF are those of node:crypto. */
import { expect, test } from "bun:test";
import { createHash, createHmac, hkdfSync } from "node:crypto";
import fc from "fast-check";
import { hkdf, hmac } from "../../src/wire/hkdf.ts";

const some = fc.uint8Array({ maxLength: 300 });
const kinds = [
  ["sha256", 64],
  ["sha512", 128],
] as const;

test.each(kinds)("HMAC with %s is that of node:crypto, with keys of any length", (name, blockBytes) => {
  const of = (data: Uint8Array) => new Uint8Array(createHash(name).update(data).digest());
  fc.assert(
    fc.property(some, some, (key, message) => {
      const expected = new Uint8Array(createHmac(name, key).update(message).digest());
      expect(hmac({ of, blockBytes }, key, message)).toEqual(expected);
    }),
    { numRuns: 300 },
  );
});

test("HKDF is that of node:crypto, and changes none of its inputs", () => {
  fc.assert(
    fc.property(some, some, some, (secret, salt, info) => {
      const copies = [secret.slice(), salt.slice(), info.slice()];
      expect(hkdf(secret, salt, info)).toEqual(new Uint8Array(hkdfSync("sha256", secret, salt, info, 32)));
      expect([secret, salt, info]).toEqual(copies);
    }),
    { numRuns: 300 },
  );
});
