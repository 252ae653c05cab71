/**
 * Identities: key pairs, their text form, signatures, and sealed room keys. Values are compared with the test vectors;
 * weak and malformed keys must be rejected.
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { signatureHolds } from "#verify";
import {
  generateIdentity,
  Identity,
  identityFromSeeds,
  identityText,
  parseIdentity,
} from "../../src/client/crypto/identity.ts";
import { newRoomKey, sealRoomKey } from "../../src/client/crypto/keys.ts";
import { type PeerKeys, VerifiedKeys } from "../../src/client/crypto/verified-keys.ts";
import { fromBase64, toBase64, toHex } from "../../src/wire/encoding.ts";
import { hasCode } from "../../src/wire/errors.ts";
import { endpointId } from "../../src/wire/names.ts";
import { bytes, vectors } from "../support/vectors.ts";

const { keys, sign, keybox } = vectors;
const known = await identityFromSeeds(bytes(keys.sign_seed), bytes(keys.kex_priv));
const other = await generateIdentity();

const holds = (signPub: Uint8Array, text: string, sig: Uint8Array) => signatureHolds(toHex(signPub), text, sig);

/** The public keys of an identity, as the server shows them. */
const keysOf = ({ endpoint, signPubHex, kexPubHex, kexSig }: Identity): PeerKeys => ({
  endpoint,
  sign_pub: signPubHex,
  kex_pub: kexPubHex,
  kex_sig: kexSig,
});

/** The error for the text of an identity. Fails the test if the text is valid. */
async function faultOf(text: string): Promise<string> {
  const error: unknown = await parseIdentity(text).catch((thrown: unknown) => thrown);
  if (!hasCode(error, "invalid")) throw new Error("the text was taken for an identity");
  return error.message;
}

describe("an identity", () => {
  test("has the bytes of the vectors", async () => {
    expect(known.signPubHex).toBe(keys.sign_pub);
    expect(known.kexPubHex).toBe(keys.kex_pub);
    expect(known.kexSig).toBe(keys.kex_sig);
    expect(known.endpoint).toBe(vectors.endpoint_id.endpoint_id);
    expect(known.nkey).toBe(vectors.nkey.nkey);
    expect(toHex(known.signPriv)).toBe(keys.sign_seed + keys.sign_pub);
    expect(toHex(known.kexPriv)).toBe(keys.kex_priv);
    expect(toBase64(await known.sign(sign.message))).toBe(sign.sig);
  });

  test.each([
    "",
    "hello",
    "nonce-of-a-server",
    "unibus-test",
    "unibus-test-v",
    "unibus-test-v0",
    "unibus--v1",
    "unibus-test-v1 \nx",
    " unibus-test-v1\nx",
    "x\nunibus-test-v1",
    "unibus-test-v1x\n",
    "unibus-test-v1\r\n",
    "UNIBUS-test-v1\n",
  ])("does not sign %j", async (text) => {
    await expect(known.sign(text)).rejects.toThrow("unibus-<kind>-v<n>");
  });

  test("does not show its private keys when it is printed", () => {
    const shown = Bun.inspect(known) + JSON.stringify(known);
    for (const secret of [known.signPriv.slice(0, 32), known.kexPriv]) {
      expect(shown).not.toContain(toHex(secret));
      expect(shown).not.toContain(toBase64(secret));
      expect(shown).not.toContain([...secret.slice(0, 8)].join(","));
      expect(shown).not.toContain([...secret.slice(0, 8)].join(", "));
    }
  });

  test("does not change with the byte arrays that it was made from or returned", async () => {
    const [seed, kex] = [bytes(keys.sign_seed), bytes(keys.kex_priv)];
    const made = await identityFromSeeds(seed, kex);
    for (const given of [seed, kex, made.signPriv, made.kexPriv]) given.fill(0);
    expect(identityText(made)).toBe(identityText(known));
  });

  test("is random each time", () => {
    expect(other.endpoint).not.toBe(known.endpoint);
    expect(other.kexPubHex).not.toBe(known.kexPubHex);
  });

  test("requires seeds of 32 bytes", async () => {
    await expect(identityFromSeeds(new Uint8Array(31), new Uint8Array(32))).rejects.toThrow(TypeError);
    await expect(identityFromSeeds(new Uint8Array(32), new Uint8Array(33))).rejects.toThrow(TypeError);
  });
});

describe("the text form of an identity", () => {
  const fields = JSON.parse(identityText(known)) as Record<string, string>;

  test("has four keys in base64 and can be read back", async () => {
    expect(Object.keys(fields)).toEqual(["sign_pub", "sign_priv", "kex_pub", "kex_priv"]);
    expect(fields.sign_priv).toBe(Buffer.from(keys.sign_seed + keys.sign_pub, "hex").toString("base64"));
    const again = await parseIdentity(identityText(known));
    expect(again).toBeInstanceOf(Identity);
    expect(identityText(again)).toBe(identityText(known));
  });

  test("can be read back for any seeds", async () => {
    const seed = fc.uint8Array({ minLength: 32, maxLength: 32 });
    const round = fc.asyncProperty(seed, seed, async (signSeed, kexPriv) => {
      const made = await identityFromSeeds(signSeed, kexPriv);
      expect(identityText(await parseIdentity(identityText(made)))).toBe(identityText(made));
      expect(await new VerifiedKeys().faultOf(keysOf(made))).toBeNull();
    });
    await fc.assert(round, { numRuns: 20 });
  });

  test.each([
    ["nothing", "", "not JSON"],
    ["half of it", identityText(known).slice(0, 90), "not JSON"],
    ["a list", "[]", "not a JSON object"],
    ["null", "null", "not a JSON object"],
    ["a number", "7", "not a JSON object"],
  ])("is refused when it is %s", async (_, text, fault) => {
    expect(await faultOf(text)).toContain(fault);
  });

  const theirs = JSON.parse(identityText(other)) as Record<string, string>;
  const short = toBase64(new Uint8Array(31));
  test.each([
    ["lacks a key", { kex_priv: undefined }, "kex_priv of the identity is missing"],
    ["has a number for a key", { sign_pub: 7 }, "sign_pub of the identity is missing or not a string"],
    ["has an additional field", { nick: "x" }, 'unknown field "nick"'],
    ["is not base64", { sign_pub: "!" }, "sign_pub of the identity is not base64"],
    ["is base64url", { kex_pub: Buffer.alloc(32, 255).toString("base64url") }, "kex_pub of the identity is not"],
    ["has a short public key", { sign_pub: short }, "sign_pub of the identity has 31 bytes, not 32"],
    ["has only a seed", { sign_priv: toBase64(known.signPriv.slice(0, 32)) }, "has 32 bytes, not 64"],
    ["has a short kex key", { kex_priv: short }, "kex_priv of the identity has 31 bytes"],
    [
      "has the sign_pub of another identity",
      { sign_pub: theirs.sign_pub },
      "sign_pub and sign_priv of the identity do not match",
    ],
    [
      "has the sign_priv of another identity",
      { sign_priv: theirs.sign_priv },
      "sign_pub and sign_priv of the identity do not match",
    ],
    [
      "has the kex_pub of another identity",
      { kex_pub: theirs.kex_pub },
      "kex_pub and kex_priv of the identity do not match",
    ],
    ["has halves of two keys", { sign_priv: halves(known, other), sign_pub: theirs.sign_pub }, "two halves"],
  ])("is refused when it %s", async (_, change, fault) => {
    const message = await faultOf(JSON.stringify({ ...fields, ...change }));
    expect(message).toContain(fault);
    expect(message).toMatch(/\(.*identity restore.*\)$/);
    for (const secret of [fields.sign_priv, fields.kex_priv]) expect(message).not.toContain(secret ?? "none");
  });
});

/** The seed of one identity with the public half of another. */
function halves(seedOf: Identity, pubOf: Identity): string {
  return toBase64(new Uint8Array([...seedOf.signPriv.slice(0, 32), ...pubOf.signPub]));
}

describe("a signature", () => {
  const sig = fromBase64(sign.sig) ?? new Uint8Array();

  test("verifies for its text and key only", async () => {
    expect(await holds(known.signPub, sign.message, sig)).toBe(true);
    expect(await holds(known.signPub, `${sign.message}!`, sig)).toBe(false);
    expect(await holds(other.signPub, sign.message, sig)).toBe(false);
    expect(await holds(known.signPub, sign.message, sig.with(0, (sig[0] ?? 0) ^ 1))).toBe(false);
  });

  test("of another size, or under a key of another size, does not verify", async () => {
    for (const size of [0, 63, 65]) expect(await holds(known.signPub, sign.message, new Uint8Array(size))).toBe(false);
    for (const size of [0, 31, 33]) expect(await holds(new Uint8Array(size), sign.message, sig)).toBe(false);
  });

  test("under a key of small order does not verify", async () => {
    const identityPoint = new Uint8Array(32).with(0, 1);
    const forged = new Uint8Array(64).with(0, 1);
    expect(await holds(identityPoint, "anything", forged)).toBe(false);
  });

  test("vouches for one kex key", async () => {
    const faultOf = (change: Partial<PeerKeys>) => new VerifiedKeys().faultOf({ ...keysOf(known), ...change });
    expect(await faultOf({ endpoint: endpointId(keys.sign_pub), kex_sig: keys.kex_sig })).toBeNull();
    const unsigned = "has a kex_pub that its sign_pub did not sign";
    expect(await faultOf({ kex_pub: other.kexPubHex })).toBe(unsigned);
    expect(await faultOf({ kex_sig: known.kexSig.replace("=", "") })).toBe(unsigned);
    expect(await faultOf({ kex_sig: "" })).toBe(unsigned);
    expect(await faultOf({ ...keysOf(other), kex_sig: known.kexSig })).toBe(unsigned);
    expect(await faultOf({ sign_pub: other.signPubHex })).toBe("has a sign_pub that does not match its endpoint");
    expect(await faultOf({ kex_pub: known.kexPubHex.toUpperCase() })).toBe("has malformed keys");
  });
});

describe("a sealed room key", () => {
  test("of the vectors opens", async () => {
    expect(toHex((await known.openRoomKey(keybox.sealed_key)) ?? new Uint8Array())).toBe(keybox.room_key);
  });

  test("opens for its owner only", async () => {
    const key = newRoomKey();
    const sealed = await sealRoomKey(key, other.kexPub);
    expect(await other.openRoomKey(sealed)).toEqual(key);
    expect(await known.openRoomKey(sealed)).toBeNull();
    expect(await sealRoomKey(key, other.kexPub)).not.toBe(sealed);
    expect(newRoomKey()).not.toEqual(key);
  });

  test.each(["", "!", "AAAA", keybox.sealed_key.slice(4), `A${keybox.sealed_key.slice(1)}`])(
    "%j does not open",
    async (sealed) => {
      expect(await known.openRoomKey(sealed)).toBeNull();
    },
  );

  test("is never made for a kex key of low order, and contains 32 bytes", async () => {
    const lowOrder = [new Uint8Array(32), new Uint8Array(32).with(0, 1)];
    for (const kexPub of lowOrder)
      await expect(sealRoomKey(newRoomKey(), kexPub)).rejects.toThrow("cannot encrypt to this kex_pub");
    await expect(sealRoomKey(new Uint8Array(31), other.kexPub)).rejects.toThrow(TypeError);
  });
});
