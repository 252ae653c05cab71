/** Identities from twelve words, compared with the test vectors: a user can restore an identity from paper. */
import { expect, test } from "bun:test";
import { hkdfSync } from "node:crypto";
import { generateMnemonic, mnemonicToSeed, validateMnemonic } from "@scure/bip39";
import { wordlist } from "@scure/bip39/wordlists/english.js";
import { identityText } from "../../src/client/crypto/identity.ts";
import { identityFromWords, newWords } from "../../src/client/crypto/wallet.ts";
import { toHex } from "../../src/wire/encoding.ts";
import { hasCode } from "../../src/wire/errors.ts";
import { vectors } from "../support/vectors.ts";

const { wallet } = vectors;

test("the words of the vectors produce their identity", async () => {
  const identity = await identityFromWords(wallet.words);
  expect(toHex(await mnemonicToSeed(wallet.words))).toBe(wallet.bip39_seed);
  expect(toHex(identity.signPriv.slice(0, 32))).toBe(wallet.sign_seed);
  expect(identity.signPubHex).toBe(wallet.sign_pub);
  expect(toHex(identity.kexPriv)).toBe(wallet.kex_priv);
  expect(identity.kexPubHex).toBe(wallet.kex_pub);
  expect(identity.endpoint).toBe(wallet.endpoint_id);
});

test("words are read in any case, spacing and width", async () => {
  const wanted = identityText(await identityFromWords(wallet.words));
  const words = wallet.words.split(" ");
  for (const typed of [
    `  ${words.join("\n")}\r\n`,
    wallet.words.toUpperCase(),
    words.join("\u3000"),
    `\t${wallet.words}`,
  ]) {
    expect(identityText(await identityFromWords(typed))).toBe(wanted);
  }
});

test("new words are twelve, produce an identity, and are random", async () => {
  const words = newWords();
  expect(words.split(" ")).toHaveLength(12);
  expect((await identityFromWords(words)).endpoint).toMatch(/^[A-Za-z0-9_-]{43}$/);
  expect(newWords()).not.toBe(words);
});

/** Runs work as on a page outside a secure context. */
async function withoutWebCrypto<T>(work: () => Promise<T>): Promise<T> {
  Object.defineProperty(crypto, "subtle", { value: undefined, configurable: true });
  try {
    return await work();
  } finally {
    Reflect.deleteProperty(crypto, "subtle");
  }
}

test("any words produce the keys that @scure/bip39 and node:crypto derive, with and without WebCrypto", async () => {
  const empty = new Uint8Array();
  for (let round = 0; round < 4; round++) {
    const words = generateMnemonic(wordlist, 128);
    const seed = await mnemonicToSeed(words);
    const keys = ["unibus-sign-v1", "unibus-kex-v1"].map((info) => hkdfSync("sha256", seed, empty, info, 32));
    const expected = keys.map((key) => toHex(new Uint8Array(key)));
    for (const made of [await identityFromWords(words), await withoutWebCrypto(() => identityFromWords(words))]) {
      expect([toHex(made.signPriv.slice(0, 32)), toHex(made.kexPriv)]).toEqual(expected);
    }
  }
  expect(crypto.subtle).toBeDefined();
});

test("new words are sound for @scure/bip39, and words with another last one are judged as by it", async () => {
  const isTaken = (words: string) =>
    identityFromWords(words).then(
      () => true,
      () => false,
    );
  for (let round = 0; round < 50; round++) {
    const words = newWords();
    expect(validateMnemonic(words, wordlist)).toBe(true);
    const other = words.replace(/\S+$/, wordlist[(round * 41) % 2_048] ?? "");
    expect([other, await isTaken(other)]).toEqual([other, validateMnemonic(other, wordlist)]);
  }
});

const eleven = wallet.words.split(" ").slice(0, 11).join(" ");
test.each([
  ["nothing", "", "got 0"],
  ["eleven", eleven, "got 11"],
  ["thirteen", `${wallet.words} about`, "got 13"],
  ["24 words, valid elsewhere", `${"abandon ".repeat(23)}art`, "got 24"],
  ["a word of no list", `${eleven} zebraa`, "word 12 "],
  ["a word of another list", `abaisser ${eleven}`, "word 1 "],
  ["a wrong checksum", `${eleven} abandon`, "checksum of the words is wrong"],
])("%s are refused", async (_, words, why) => {
  const error: unknown = await identityFromWords(words).catch((thrown: unknown) => thrown);
  if (!hasCode(error, "invalid")) throw new Error("the words were taken");
  expect(error.message).toContain(why);
  for (const secret of ["abandon", "zebraa", "abaisser"]) expect(error.message).not.toContain(secret);
});
