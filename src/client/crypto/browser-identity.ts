/**
 * Identities that a browser keeps for a site, in IndexedDB.
 *
 * Where the browser has Ed25519 and X25519, their private keys are keys of WebCrypto that cannot be extracted: scripts
 * of the site can use them, but not read them. Elsewhere, their seeds are kept encrypted under such a key for
 * AES. Then a copy of the database is useless, but scripts of the site can read the private keys.
 */
import { hasCode, UnibusError } from "../../wire/errors.ts";
import { databaseError, openDatabase } from "../indexed-db.ts";
import { generateIdentity, type Identity, identityFromSeeds, identityOf } from "./identity.ts";
import { newRoomKey, sealRoomKey } from "./keys.ts";
import { generatedKey, importedKey, type NativeKey, nativeSigner } from "./native-keys.ts";

const store = "identities";
const database = { name: "unibus-identities", version: 1, stores: [store] } as const;
const nameDefault = "default";
const cipher = "AES-GCM";
const seedBytes = 32;

/** An identity as it is stored. */
type Stored =
  | { readonly form: "native"; readonly signing: NativeKey; readonly kex: NativeKey }
  | {
      readonly form: "sealed";
      readonly key: CryptoKey;
      readonly nonce: Uint8Array<ArrayBuffer>;
      /** The two seeds, encrypted. */
      readonly seeds: ArrayBuffer;
    };

/** The options of `createBrowserIdentity`. */
export interface BrowserIdentityOptions {
  /** The name of the identity on this site, if there are several. Default: `default`. */
  readonly name?: string;
  /** An identity to keep instead of a new one, for example that of twelve words. Its keys must be in memory. */
  readonly from?: Identity;
}

/** Runs one request on the stored identities. Errors: unavailable; invalid outside a browser. */
async function ask<T>(mode: "readonly" | "readwrite", make: (entries: IDBObjectStore) => IDBRequest<T>): Promise<T> {
  if (globalThis.indexedDB === undefined) {
    const hint = "outside a browser, keep it in a file: see identityText";
    throw new UnibusError("invalid", `there is no IndexedDB to keep an identity in (${hint})`);
  }
  const opened = await openDatabase(database, () => undefined);
  try {
    return await new Promise((resolve, reject) => {
      const transaction = opened.transaction(store, mode, { durability: "strict" });
      const request = make(transaction.objectStore(store));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(request.error ?? transaction.error);
    });
  } catch (error) {
    throw (error as Error | null)?.name === "ConstraintError" ? error : databaseError(error);
  } finally {
    opened.close();
  }
}

/** Encrypts the private keys of an identity. Errors: invalid on a page without WebCrypto. */
async function sealed({ signPriv, kexPriv }: Identity): Promise<Stored> {
  if (globalThis.crypto?.subtle === undefined) {
    throw new UnibusError("invalid", "this page cannot keep an identity safely (serve it over https)");
  }
  const key = await crypto.subtle.generateKey({ name: cipher, length: 256 }, false, ["encrypt", "decrypt"]);
  const nonce = crypto.getRandomValues(new Uint8Array(12));
  const seeds = new Uint8Array([...signPriv.subarray(0, seedBytes), ...kexPriv]);
  return { form: "sealed", key, nonce, seeds: await crypto.subtle.encrypt({ name: cipher, iv: nonce }, key, seeds) };
}

async function stored(from: Identity | undefined): Promise<Stored> {
  const [signing, kex] =
    from === undefined
      ? [await generatedKey("Ed25519"), await generatedKey("X25519")]
      : [await importedKey("Ed25519", from.signPriv.subarray(0, seedBytes)), await importedKey("X25519", from.kexPriv)];
  return signing === null || kex === null
    ? sealed(from ?? (await generateIdentity()))
    : { form: "native", signing, kex };
}

async function identityIn(kept: Stored): Promise<Identity> {
  if (kept.form === "native") return identityOf(nativeSigner(kept.signing, kept.kex));
  const { key, nonce, seeds } = kept;
  const plain = new Uint8Array(await crypto.subtle.decrypt({ name: cipher, iv: nonce }, key, seeds));
  return identityFromSeeds(plain.slice(0, seedBytes), plain.slice(seedBytes));
}

/** The identity that was stored, whose keys must belong together. Errors: invalid. */
async function checked(name: string, kept: Stored): Promise<Identity> {
  try {
    const identity = await identityIn(kept);
    if ((await identity.openRoomKey(await sealRoomKey(newRoomKey(), identity.kexPub))) !== null) return identity;
    throw new TypeError("the kex key does not match");
  } catch (cause) {
    const hint = "delete it, and restore it from its words";
    throw new UnibusError("invalid", `the stored identity ${JSON.stringify(name)} is damaged (${hint})`, { cause });
  }
}

/**
 * Makes an identity that this browser keeps for the site. Its private keys cannot be extracted where the browser has
 * Ed25519 and X25519 (`isExtractable` of the identity says so).
 * Errors: conflict if there is one of that name; invalid outside a secure context, or for a `from` whose keys are not
 * in memory; unavailable if the browser stores no data for the site.
 */
export async function createBrowserIdentity({
  name = nameDefault,
  from,
}: BrowserIdentityOptions = {}): Promise<Identity> {
  const made = await stored(from);
  try {
    await ask("readwrite", (entries) => entries.add(made, name));
  } catch (error) {
    if (hasCode(error, "unavailable") || hasCode(error, "invalid")) throw error;
    const hint = "open it with openBrowserIdentity, or choose another name";
    throw new UnibusError("conflict", `this browser already has an identity ${JSON.stringify(name)} (${hint})`);
  }
  return checked(name, made);
}

/**
 * The identity of that name that this browser keeps for the site, or null.
 * Errors: invalid if it is damaged: it is never replaced by a new one; unavailable as of `createBrowserIdentity`.
 */
export async function openBrowserIdentity(name: string = nameDefault): Promise<Identity | null> {
  const kept = (await ask("readonly", (entries) => entries.get(name))) as Stored | undefined;
  return kept === undefined ? null : checked(name, kept);
}

/** Deletes an identity from this browser for ever. Only its words or its file bring it back. Errors: unavailable. */
export async function deleteBrowserIdentity(name: string = nameDefault): Promise<void> {
  await ask("readwrite", (entries) => entries.delete(name));
}
