/** Random histories for timelines, and what a timeline must show of them, worked out from all messages at once. */
import type { RoomFacts } from "../../src/client/rooms/owners-word.ts";
import type { Timeline } from "../../src/client/rooms/timeline.ts";
import type { TimelineMessage } from "../../src/client/rooms/timeline-item.ts";
import { bytesOf } from "../../src/wire/encoding.ts";

/** A random number generator with a seed (mulberry32). Returns a whole number from 0, below `count`. */
export type Random = (count: number) => number;

/** Creates a generator. */
export function randomOf(seed: number): Random {
  let state = seed >>> 0;
  return (count) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296) * count) | 0;
  };
}

const digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

const digitsOf = (number: number, length: number): string =>
  Array.from({ length }, (_, at) => digits[Math.floor(number / 32 ** (length - 1 - at)) % 32]).join("");

/** A ULID with a number in it, of which two follow each other in each millisecond. */
export const idOf = (number: number): string => `01HZ${digitsOf(number >> 1, 6)}${digitsOf(number & 1, 16)}`;

/** What a test says of a message. */
export type Given = Partial<TimelineMessage> & TimelineMessage["header"] & { readonly body?: string };

/** A message for a timeline, with defaults. */
export function messageOf(given: Given): TimelineMessage {
  const { body = "", chain, statement, ...rest } = given;
  return {
    ...{ id: idOf(1), from: "alice", kind: "text", verified: true, replyTo: null },
    ...{ data: bytesOf(body), header: { chain, statement }, ...rest },
  };
}

/** Facts of a room that has statements 1 to `version`, each with the hash `v<version>`. */
export function factsOf({ signs = true, owners = ["alice"], version = 3 }): RoomFacts {
  return {
    signs,
    isOwner: (endpoint) => owners.includes(endpoint),
    hasStatement: (statement) => statement.version <= version && statement.hash === `v${statement.version}`,
  };
}

/** Shuffles a list in place. */
export function shuffled<T>(list: T[], random: Random): T[] {
  for (let at = list.length - 1; at > 0; at--) {
    const other = random(at + 1);
    [list[at], list[other]] = [list[other] as T, list[at] as T];
  }
  return list;
}

const kinds = ["text", "text", "text", "file", "edit", "edit", "edit", "edit", "delete", "react", "react", "unreact"];
const rareKinds = ["title", "pin", "receipt", "app.poll", "unsupported", "data"];

/** A random history: ids collide, targets may be missing, and senders sometimes use one id twice. */
export function historyOf(random: Random, count: number, signs: boolean): TimelineMessage[] {
  const senders = ["alice", "bob", "carol"];
  const ids = Math.max(4, Math.floor(count * 0.8));
  const pick = <T>(list: readonly T[]): T => list[random(list.length)] as T;
  const used = new Set<string>();
  const messages: TimelineMessage[] = [];
  while (messages.length < count) {
    const kind = random(6) === 0 ? pick(rareKinds) : pick(kinds);
    const from = pick(senders);
    const id = idOf(random(ids * 4));
    if (used.has(`${from}.${id}`) && random(4) > 0) continue;
    used.add(`${from}.${id}`);
    const known = messages.length > 0 && random(8) > 0 ? pick(messages).id : idOf(random(ids * 4));
    messages.push({
      ...{ id, from, kind, verified: signs && random(50) > 0, frameHash: null },
      replyTo: kind === "text" && random(2) === 0 ? null : random(30) === 0 ? null : known,
      data: bodyOf(kind, random, known),
      header: {
        chain: random(5) === 0 ? undefined : { id: `${from}${random(2)}`, n: random(count) },
        statement: random(3) === 0 ? undefined : { version: 1 + random(4), hash: `v${1 + random(4)}` },
      },
    });
  }
  return messages;
}

function bodyOf(kind: string, random: Random, known: string): Uint8Array {
  if (random(25) === 0) return Uint8Array.of(0xff, random(256));
  if (kind === "react" || kind === "unreact") return bytesOf(["👍", "❤️"][random(2)] ?? "");
  if (kind === "delete") return random(2) === 0 ? new Uint8Array() : new Uint8Array(32).fill(random(4));
  if (kind === "pin") return bytesOf(random(4) === 0 ? "" : `${known}\n${idOf(random(9))}`);
  if (kind === "title") return bytesOf(random(9) === 0 ? "" : `title ${random(9)}`);
  return bytesOf(`body ${random(1_000)}`);
}

/** What a timeline shows, as plain data. */
export function shownBy(timeline: Timeline<TimelineMessage>): unknown {
  return {
    items: timeline.items().map(({ key, kind, text, edit, deletion, reactions, isUnsigned, message }) => {
      return { key, kind, text, edit: edit?.id ?? null, deletion, reactions, isUnsigned, has: message !== null };
    }),
    title: timeline.title,
    pins: timeline.pins,
    receipts: [...timeline.receipts].sort(),
  };
}
