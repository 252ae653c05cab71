/** Benchmark: the reducer that makes a timeline of a room's messages. */
import { Timeline } from "../src/client/rooms/timeline.ts";
import type { TimelineMessage } from "../src/client/rooms/timeline-item.ts";
import { bytesOf } from "../src/wire/encoding.ts";
import { newUlid } from "../src/wire/ulid.ts";
import { workload } from "./workload.ts";

const count = 100_000;
const later = 2_000;
const rounds = 5;

const facts = { signs: true, isOwner: (endpoint: string) => endpoint.startsWith("A"), hasStatement: () => true };

/** Messages of 50 members: 70 % texts, and edits, reactions and deletions of the texts before. */
function messagesOf(total: number, startMs: number): TimelineMessage[] {
  const members = Array.from({ length: 50 }, (_, at) => String.fromCharCode(65 + at).repeat(43));
  const texts: TimelineMessage[] = [];
  return Array.from({ length: total }, (_, n) => {
    const kind =
      n < 10 || n % 10 < 7 ? "text" : (["edit", "react", n % 100 === 99 ? "delete" : "react"][(n % 10) - 7] ?? "");
    const target = kind === "text" ? undefined : texts[Math.floor(Math.random() * texts.length)];
    const isOwn = kind === "edit" || kind === "delete";
    const from = (isOwn ? target?.from : undefined) ?? members[Math.floor(Math.random() * members.length)] ?? "";
    const message: TimelineMessage = {
      ...{ id: newUlid(startMs + n * 10), from, kind, verified: true, replyTo: target?.id ?? null },
      data: kind === "delete" ? new Uint8Array() : bytesOf(kind === "react" ? "👍" : `message ${n}`),
      header: { chain: { id: from.slice(0, 16), n }, statement: { version: 1, hash: "00" } },
    };
    if (kind === "text") texts.push(message);
    return message;
  });
}

const median = (values: readonly number[]): number =>
  [...values].sort((one, other) => one - other)[Math.floor(values.length / 2)] ?? Number.NaN;

function timed(work: () => void): number {
  const startedMs = performance.now();
  work();
  return performance.now() - startedMs;
}

function filled(messages: readonly TimelineMessage[]): Timeline<TimelineMessage> {
  const timeline = new Timeline<TimelineMessage>(facts, () => undefined);
  for (const message of messages) timeline.add(message);
  return timeline;
}

async function measure() {
  const messages = messagesOf(count, 1_700_000_000_000);
  const backwards = messages.toReversed();
  const mixed = messages.toSorted((one, other) => (one.id.slice(-16) < other.id.slice(-16) ? -1 : 1));
  const inOrder: number[] = [];
  const reversed: number[] = [];
  const anyOrder: number[] = [];
  const one: number[] = [];
  for (let round = 0; round < rounds; round++) {
    inOrder.push(timed(() => filled(messages)));
    reversed.push(timed(() => filled(backwards)));
    anyOrder.push(timed(() => filled(mixed)));
    const timeline = filled(messages);
    // Among them messages with an old time, which are inserted in the middle.
    const more = [...messagesOf(later, 1_800_000_000_000), ...messagesOf(later, 1_700_000_500_000)];
    const totalMs = timed(() => {
      for (const message of more) timeline.add(message);
    });
    one.push(totalMs / more.length);
  }
  return {
    "100,000 in order": { value: median(inOrder) },
    "newest first": { value: median(reversed) },
    "any order": { value: median(anyOrder) },
    "one more": { value: median(one) },
  };
}

/** Measures the reducer alone, without network and cryptography. */
export const timeline = workload({
  name: "timeline",
  goal: {
    "100,000 in order": { unit: "ms", atMost: 300 },
    "newest first": { unit: "ms", atMost: 300 },
    "any order": { unit: "ms", atMost: 300 },
    "one more": { unit: "ms", atMost: 0.1 },
  },
  recipe:
    "100,000 messages of 50 members (70 % texts, edits, reactions, deletions) into an empty timeline with a listener, in " +
    "three orders, and 4,000 more one by one into the full one, half of them with an old time; median of 5 rounds",
  run: measure,
});
