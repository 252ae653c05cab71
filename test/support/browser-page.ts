/** The program of a browser page: exposes to the test the parts of the client that `unibus/client` does not export. */
import { openState } from "#state";
import { signatureHolds } from "#verify";
import {
  createBrowserIdentity,
  deleteBrowserIdentity,
  openBrowserIdentity,
} from "../../src/client/crypto/browser-identity.ts";
import { type Identity, identityText } from "../../src/client/crypto/identity.ts";
import { newRoomKey, sealRoomKey } from "../../src/client/crypto/keys.ts";
import { identityFromWords } from "../../src/client/crypto/wallet.ts";
import { MemoryState, type RoomPin } from "../../src/client/trust/state.ts";
import { computeVectors } from "../../src/client/vectors.ts";
import { isUnibusError } from "../../src/wire/errors.ts";

/** The result of a call on a client state: a value, or the code of its error. */
export type Given = { readonly value: unknown } | { readonly code: unknown };

/** One call on a client state: which state, and which method. */
export interface Use {
  /** The database's name; in memory if absent. */
  readonly folder?: string;
  readonly bus?: string;
  readonly call: "room" | "saveRoom" | "handle" | "pinHandle" | "repinHandle";
  readonly with: readonly [string, (string | RoomPin)?];
}

const memories = new Map<string, MemoryState>();

/** Calls a client state; each call opens it again, as another page would. */
async function use({ folder, bus = "https://bus.example.org", call, with: given }: Use): Promise<Given> {
  const memory = memories.get(bus) ?? new MemoryState();
  memories.set(bus, memory);
  const state = folder === undefined ? memory : openState({ folder, bus });
  const method = state[call] as (...given: unknown[]) => Promise<unknown>;
  try {
    return { value: (await method.apply(state, [...given])) ?? null };
  } catch (error) {
    return { code: isUnibusError(error) ? error.code : String(error) };
  }
}

/** Writes any value into a database, bypassing the client. */
function spoil(folder: string, store: string, key: IDBValidKey, value: unknown): Promise<void> {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open(folder);
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
      const transaction = opening.result.transaction(store, "readwrite");
      transaction.objectStore(store).put(value, key);
      transaction.oncomplete = () => {
        opening.result.close();
        resolve();
      };
      transaction.onabort = () => reject(transaction.error);
    };
  });
}

/** What the browser says about one signature. */
export interface GivenSignature {
  readonly signPub: string;
  readonly text: string;
  readonly sig: readonly number[];
}

const violations: string[] = [];
document.addEventListener("securitypolicyviolation", ({ blockedURI, violatedDirective }) => {
  violations.push(`${violatedDirective} ${blockedURI}`);
});

/** The code of a call's error, or null. */
async function codeOf(work: () => Promise<unknown>): Promise<string | null> {
  try {
    await work();
    return null;
  } catch (error) {
    return isUnibusError(error) ? error.code : String(error);
  }
}

/** Calls on identities of this browser, as an application makes them. Returns what it sees of them. */
const identities = {
  create: async (name: string, words?: string) =>
    shown(
      await createBrowserIdentity({ name, ...(words === undefined ? {} : { from: await identityFromWords(words) }) }),
    ),
  open: async (name: string) => {
    const identity = await openBrowserIdentity(name);
    return identity === null ? null : shown(identity);
  },
  delete: (name: string) => deleteBrowserIdentity(name),
  codeOfCreate: (name: string) => codeOf(() => createBrowserIdentity({ name })),
  codeOfOpen: (name: string) => codeOf(() => openBrowserIdentity(name)),
};

async function shown(identity: Identity) {
  const { endpoint, kexPubHex, isExtractable } = identity;
  const roomKey = newRoomKey();
  const opened = await identity.openRoomKey(await sealRoomKey(roomKey, identity.kexPub));
  const text = "unibus-test-v1\nhello";
  return {
    ...{ endpoint, kexPubHex, isExtractable },
    opens: opened?.join() === roomKey.join(),
    signs: await signatureHolds(identity.signPubHex, text, await identity.sign(text)),
    secrets: await codeOf(async () => identityText(identity)),
  };
}

/** Whether WebAssembly can run: the page's Content-Security-Policy must forbid it. */
async function runsWebAssembly(): Promise<boolean> {
  const nothing = new Uint8Array([0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00]);
  return WebAssembly.compile(nothing).then(
    () => true,
    () => false,
  );
}

/** Makes this page a browser without Ed25519 and X25519, until it is loaded again. */
function forgetCurves(): void {
  const { subtle } = crypto;
  const isCurve = (given: readonly unknown[]) => given.some((one) => one === "Ed25519" || one === "X25519");
  for (const name of ["importKey", "generateKey"] as const) {
    const known = subtle[name].bind(subtle) as (...given: unknown[]) => Promise<unknown>;
    const limited = (...given: unknown[]) =>
      isCurve(given) ? Promise.reject(new DOMException("unknown", "NotSupportedError")) : known(...given);
    Object.assign(subtle, { [name]: limited });
  }
}

/** What the page offers to the test. */
export const offered = {
  computeVectors,
  identities,
  forgetCurves,
  runsWebAssembly,
  violations: () => violations,
  judge: (list: readonly GivenSignature[]) =>
    Promise.all(list.map(({ signPub, text, sig }) => signatureHolds(signPub, text, new Uint8Array(sig)))),
  use,
  spoil,
  names: async () => (await indexedDB.databases()).map(({ name }) => name),
};

Object.assign(globalThis, { offered });
document.documentElement.dataset.ready = "yes";
