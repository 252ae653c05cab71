/**
 * Warnings about messages that were dropped: how many, why, and whose. The first of a kind is told at once by a command
 * that follows a room, later ones each time that there are ten times as many, and the rest when the command ends.
 */
import type { BusEvents } from "../client/index.ts";
import { openedRoom } from "./open-room.ts";
import { printNote } from "./print.ts";

type Drop = BusEvents["suspicious"];

/** How many kinds are counted apart. What members cause must not fill the memory. */
const kindsMax = 100;

interface Count {
  readonly drop: Drop;
  count: number;
  told: number;
}

/** Reasons that say that no unibus client made it. */
const foreign: ReadonlySet<string> = new Set(["not_json", "not_canonical", "too_large"]);

function personIn(roomId: string | null, endpoint: string): string {
  const handle = openedRoom(roomId)?.members.find((one) => one.endpoint === endpoint)?.handle;
  return handle === undefined ? endpoint : `${handle} (${endpoint})`;
}

/** One kind of drop in words. */
function dropText({ roomId, what, from, claims }: Drop, count: number): string {
  const messages = count === 1 ? "1 message" : `${count} messages`;
  const name = openedRoom(roomId)?.subject ?? roomId;
  if (from !== undefined) return `${messages} of ${personIn(roomId, from)} in ${name} dropped: ${what}`;
  const sender = claims === undefined ? "of an unknown sender" : `naming ${personIn(roomId, claims)} as sender`;
  if (what === "not_decryptable") {
    const why = "sealed when you had no key, or false";
    return `${messages} ${sender} in ${name} cannot be read: ${what} (${why})`;
  }
  if (foreign.has(what)) {
    return `${messages} ${sender} in ${name} dropped: ${what}, not made by a unibus client (--raw shows them)`;
  }
  return `${messages} ${sender} in ${name} dropped: ${what} (the sender, or the bus, is at fault)`;
}

/** Counts what a command drops, and tells it. */
export class DropNotes {
  readonly #counts = new Map<string, Count>();

  constructor(private readonly follows: boolean) {}

  /** Takes a drop. */
  take(drop: Drop): void {
    const key = [drop.roomId, drop.what, drop.from, drop.claims].join(" ");
    const known = this.#counts.get(key);
    if (known === undefined && this.#counts.size >= kindsMax) return;
    const one = known ?? { drop, count: 0, told: 0 };
    this.#counts.set(key, one);
    one.count += 1;
    if (this.follows && (one.told === 0 || one.count >= 10 * one.told)) this.#tell(one);
  }

  /** Tells what was not told yet. */
  flush(): void {
    for (const one of this.#counts.values()) if (one.count > one.told) this.#tell(one);
  }

  #tell(one: Count): void {
    one.told = one.count;
    printNote(`warning: ${dropText(one.drop, one.count)}`);
  }
}
