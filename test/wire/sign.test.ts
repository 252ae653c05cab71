/**
 * The texts that are signed, compared with the test vectors. A text of one kind can never be one of another.
 * Source: docs/protocol/identity.md.
 */
import { describe, expect, test } from "bun:test";
import { identityFromSeeds } from "../../src/client/crypto/identity.ts";
import { bytesOf, toBase64, toBase64Url } from "../../src/wire/encoding.ts";
import * as sign from "../../src/wire/sign.ts";
import { bytes, vectors } from "../support/vectors.ts";

const identity = await identityFromSeeds(bytes(vectors.keys.sign_seed), bytes(vectors.keys.kex_priv));

describe("a signing text", () => {
  test.each(vectors.control_request)("of a request: $target", async (given) => {
    const text = sign.requestText({
      host: given.host,
      method: given.method,
      target: given.target,
      ts: given.ts,
      nonce: given.nonce,
      bodyHash: given.body_hash,
    });
    expect(text).toBe(given.text);
    expect(toBase64(await identity.sign(text))).toBe(given.sig);
  });

  test("of a login", async () => {
    const given = vectors.nats_connect;
    const text = sign.natsText(given.host, given.nonce);
    expect(text).toBe(given.text);
    expect(toBase64Url(await identity.sign(text))).toBe(given.sig);
  });

  test("of a kex key", async () => {
    const given = vectors.keys;
    const text = sign.keysText(given.sign_pub, given.kex_pub);
    expect(text).toBe(given.text);
    expect(toBase64(await identity.sign(text))).toBe(given.kex_sig);
  });

  test.each(vectors.frame)("of a frame: $plaintext", async (given) => {
    const unsigned = given.wire.replace(/"sig":"[^"]*",/, "");
    const text = sign.frameText(given.room_id, unsigned);
    expect(text).toBe(given.signing_text);
    expect(toBase64(await identity.sign(text))).toBe(given.sig);
  });

  test("contains no extra line from a nonce or a target", () => {
    const request = { host: "h", method: "GET", target: "/", ts: "1", nonce: "n", bodyHash: "b" };
    expect(bytesOf(sign.requestText(request)).filter((byte) => byte === 10)).toHaveLength(6);
  });
});

test("the header names are fixed", () => {
  expect<string[]>(Object.values(sign.signatureHeaders)).toEqual(
    ["host", "pub", "ts", "nonce", "body", "sig"].map((name) => `x-unibus-${name}`),
  );
  expect(sign.skewSMax).toBe(30);
});
