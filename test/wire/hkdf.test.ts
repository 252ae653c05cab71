/** HKDF is that of node:crypto. */
import { expect, test } from "bun:test";
import { hkdfSync } from "node:crypto";
import fc from "fast-check";
import { hkdf } from "../../src/wire/hkdf.ts";

const some = fc.uint8Array({ maxLength: 300 });
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
