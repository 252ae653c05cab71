/**
 * A server that makes a client sign a nonce which may be the text of a request.
 * Source: docs/protocol/identity.md, docs/threat-model.md.
 */
import { describe, expect, test } from "bun:test";
import { generateIdentity } from "../../src/client/crypto/identity.ts";
import { verifySignature } from "../../src/contracts/signature.ts";
import { frameText, keysText, natsText, requestText } from "../../src/wire/sign.ts";

const request = requestText({
  host: "bus.example",
  method: "DELETE",
  target: "/rooms/01ARZ3NDEKTSV4RRFFQ69G5FAV",
  ts: "1800000000",
  nonce: Buffer.alloc(16, 1).toString("base64"),
  bodyHash: "0".repeat(64),
});

describe("an identity", () => {
  test("does not sign a bare nonce", async () => {
    const identity = await generateIdentity();
    const nonces = ["3bqyfpzAnjQ1Gk0", "", "x", `x${request}`, ` ${request}`, `\n${request}`, request.toUpperCase()];
    const almost = [
      "unibus-",
      "unibus-v1",
      "unibus--v1\n",
      "unibus-request-v0\nx",
      "unibus-request-v1 x",
      "unibus-Re-v1",
    ];
    for (const text of [...nonces, ...almost]) await expect(identity.sign(text)).rejects.toThrow(TypeError);
  });

  test("signs texts that begin with a kind of unibus, and its signatures verify", async () => {
    const identity = await generateIdentity();
    const texts = [
      request,
      natsText("127.0.0.1:4711", "3bqyfpzAnjQ1Gk0"),
      keysText(identity.signPubHex, identity.kexPubHex),
      frameText("01ARZ3NDEKTSV4RRFFQ69G5FAV", "{}"),
      "unibus-room-v1\nx",
    ];
    for (const text of texts) {
      expect(await verifySignature(identity.signPubHex, text, await identity.sign(text))).toBe(true);
    }
  });
});

describe("a login signature", () => {
  test("is not valid for a request, whatever nonce the server chose", async () => {
    const identity = await generateIdentity();
    for (const nonce of [request, `\n${request}`, request.slice("unibus-request-v1\n".length), `x\n${request}`]) {
      const text = natsText("bus.example:4711", nonce);
      const sig = await identity.sign(text);
      expect(text.split("\n")[0]).toBe("unibus-nats-v2");
      expect(await verifySignature(identity.signPubHex, request, sig)).toBe(false);
      expect(await verifySignature(identity.signPubHex, nonce, sig)).toBe(false);
    }
  });

  test("the kinds of text are disjoint: each begins with its own line", () => {
    const hostile = [request, "x\ny", "\n", "127.0.0.1\nGET"];
    const first = (text: string) => text.split("\n")[0];
    for (const given of hostile) {
      expect(first(natsText(given, given))).toBe("unibus-nats-v2");
      expect(first(keysText(given, given))).toBe("unibus-keys-v1");
      expect(first(frameText(given, given))).toBe("unibus-frame-v1");
    }
  });
});
