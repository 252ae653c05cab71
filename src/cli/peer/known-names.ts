/**
 * The names that shell completion offers: the user's rooms, and the handles of the bus. They are cached for a moment,
 * and asked from the bus with a short deadline. Whatever goes wrong, completion prints nothing instead: an error would
 * end up in the prompt.
 */
import { mkdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { Type } from "@sinclair/typebox";
import { Check } from "@sinclair/typebox/value";
import { connect, type Identity } from "../../client/index.ts";
import { waitFor } from "../../client/transport/wait.ts";
import { replaceFile } from "../../lib/atomic-file.ts";
import type { Names } from "../completion-scripts.ts";
import { printLine } from "../print.ts";
import { readIdentityFile } from "./identity-file.ts";
import { stateFolder } from "./peer.ts";
import { placeOf, urlsOf } from "./remembered.ts";

/** How long names stay fresh, and how long the bus may take, in milliseconds. */
const freshMs = 30_000;
const deadlineMs = 1_000;
/** How many names of a kind are offered at most. */
const namesMax = 1_000;

const Cached = Type.Object({
  bus: Type.String(),
  at_ms: Type.Number(),
  rooms: Type.Array(Type.String()),
  people: Type.Array(Type.String()),
});

type Known = Readonly<Record<Names, readonly string[]>>;

/** Names that mean nothing to a shell: they are other people's choice, and end up on a command line. */
const isPlain = (name: string): boolean => /^[\p{L}\p{N}_][\p{L}\p{M}\p{N}._@+-]*$/u.test(name);

async function ask(bus: string, identity: Identity, signal: AbortSignal): Promise<Known> {
  const state = stateFolder(identity.endpoint);
  const dial = process.env.UNIBUS_DIAL || undefined;
  await using client = await connect({ urls: urlsOf(bus), identity, state, dial, lazy: true, settles: false, signal });
  const rooms = (await client.rooms(signal)).map(({ subject }) => subject);
  const people: string[] = [];
  for await (const { handle } of client.directory.list({ signal })) if (people.push(handle) >= namesMax) break;
  return { rooms, people };
}

function cached(file: string, bus: string): (Known & { readonly isFresh: boolean }) | null {
  try {
    const saved: unknown = JSON.parse(readFileSync(file, "utf8"));
    if (!Check(Cached, saved) || saved.bus !== bus) return null;
    return { ...saved, isFresh: Math.abs(Date.now() - saved.at_ms) < freshMs };
  } catch {
    return null;
  }
}

/** Writes the cache. A full disk must not take the names away. */
function keep(file: string, names: object): void {
  try {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    replaceFile(file, `${JSON.stringify(names)}\n`);
  } catch {
    // They are asked for again next time.
  }
}

async function known(): Promise<Known> {
  const { bus, identity: file } = placeOf({
    url: process.env.UNIBUS_URL || undefined,
    identity: process.env.UNIBUS_IDENTITY || undefined,
  });
  const identity = await readIdentityFile(file);
  const cache = join(stateFolder(identity.endpoint), "names.json");
  const before = cached(cache, bus);
  if (before?.isFresh) return before;
  try {
    const signal = AbortSignal.timeout(deadlineMs);
    const now = await waitFor(ask(bus, identity, signal), signal);
    keep(cache, { bus, at_ms: Date.now(), ...now });
    return now;
  } catch (error) {
    if (before !== null) return before;
    throw error;
  }
}

/** Prints the names of a kind, one a line: those that need no quotes in a shell. Never fails. */
export async function printNames(kind: Names): Promise<void> {
  try {
    const names = [...new Set((await known())[kind])].filter(isPlain).sort();
    for (const name of names.slice(0, namesMax)) await printLine(name);
  } catch {
    // Nothing to offer.
  }
}
