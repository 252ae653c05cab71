import { hkdf } from "@noble/hashes/hkdf.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { generateMnemonic, mnemonicToSeed, validateMnemonic } from "@scure/bip39";
import { wordlist } from "@scure/bip39/wordlists/english.js";
import { bytesOf } from "../../wire/encoding.ts";
import { UnibusError } from "../../wire/errors.ts";
import { type Identity, identityFromSeeds } from "./identity.ts";

/** How many words a wallet has. Source: docs/protocol/identity.md. */
export const walletWords = 12;

const known = new Set(wordlist);

/** Generates twelve words. They are a secret: they determine the identity. */
export function newWords(): string {
  return generateMnemonic(wordlist, 128);
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
  if (!validateMnemonic(phrase, wordlist))
    fault("the checksum of the words is wrong: a word is wrong or in the wrong place");
  return phrase;
}

/**
 * The identity derived from twelve words; deterministic.
 * Shape: case and white space do not matter. Errors: invalid if a word or the checksum is wrong.
 * Source: docs/protocol/identity.md.
 */
export async function identityFromWords(words: string): Promise<Identity> {
  const seed = await mnemonicToSeed(normalWords(words));
  const derive = (info: string) => hkdf(sha256, seed, new Uint8Array(0), bytesOf(info), 32);
  return identityFromSeeds(derive("unibus-sign-v1"), derive("unibus-kex-v1"));
}
