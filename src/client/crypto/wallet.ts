/** Identities from twelve words (BIP39). */

import { pbkdf2Async } from "@noble/hashes/pbkdf2.js";
import { sha512 } from "@noble/hashes/sha2.js";
import { wordlist } from "@scure/bip39/wordlists/english.js";
import { sha256 } from "#bytes";
import { bytesOf } from "../../wire/encoding.ts";
import { UnibusError } from "../../wire/errors.ts";
import { hkdf } from "../../wire/hkdf.ts";
import { type Identity, identityFromSeeds } from "./identity.ts";

/** How many words a wallet has. Source: docs/protocol/identity.md. */
export const walletWords = 12;

const known = new Set(wordlist);
/** A word stands for 11 bits: 128 random bits, and the first 4 of their hash. */
const [wordBits, entropyBits, checkBits] = [11, 128, 4];
/** How a seed is derived from words. */
const derivation = { c: 2_048, dkLen: 64 } as const;

const bitsOf = (numbers: Iterable<number>, bits: number): string =>
  Array.from(numbers, (number) => number.toString(2).padStart(bits, "0")).join("");

const numbersIn = (bits: string, each: number): number[] =>
  Array.from({ length: bits.length / each }, (_, at) => Number.parseInt(bits.slice(each * at, each * (at + 1)), 2));

function wordsOf(entropy: Uint8Array): string {
  const bits = bitsOf(entropy, 8) + bitsOf(sha256(entropy), 8).slice(0, checkBits);
  return numbersIn(bits, wordBits)
    .map((index) => wordlist[index])
    .join(" ");
}

/** Generates twelve words. They are a secret: they determine the identity. */
export function newWords(): string {
  return wordsOf(crypto.getRandomValues(new Uint8Array(entropyBits / 8)));
}

/** Whether the last word has the checksum of the others. Shape: words of the list, with single spaces. */
function isSound(phrase: string): boolean {
  const indices = phrase.split(" ").map((word) => wordlist.indexOf(word));
  return wordsOf(Uint8Array.from(numbersIn(bitsOf(indices, wordBits).slice(0, entropyBits), 8))) === phrase;
}

/** The seed of BIP39, without a passphrase. */
function seedOf(phrase: string): Promise<Uint8Array> {
  return pbkdf2Async(sha512, bytesOf(phrase), bytesOf("mnemonic"), derivation);
}

const fault = (what: string): never => {
  throw new UnibusError("invalid", `${what} (type the ${walletWords} words that \`identity new --words\` showed)`);
};

/**
 * Normalizes words for hashing: NFKD, lowercase, single spaces. An error names a word by its position, never the word.
 */
function normalWords(text: string): string {
  const words = text.normalize("NFKD").toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length !== walletWords) fault(`expected ${walletWords} words, got ${words.length}`);
  const stranger = words.findIndex((word) => !known.has(word));
  if (stranger !== -1) fault(`word ${stranger + 1} is not in the English BIP39 list`);
  const phrase = words.join(" ");
  if (!isSound(phrase)) fault("the checksum of the words is wrong: a word is wrong or in the wrong place");
  return phrase;
}

/**
 * The identity derived from twelve words; deterministic.
 * Shape: case and white space do not matter. Errors: invalid if a word or the checksum is wrong.
 * Source: docs/protocol/identity.md.
 */
export async function identityFromWords(words: string): Promise<Identity> {
  const seed = await seedOf(normalWords(words));
  const derive = (info: string) => hkdf(seed, new Uint8Array(), bytesOf(info));
  return identityFromSeeds(derive("unibus-sign-v1"), derive("unibus-kex-v1"));
}
