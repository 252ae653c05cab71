/**
 * Warnings about dropped messages: how many, why, and whose. A command that follows a room prints the first drop of a
 * kind immediately, then again whenever the count has grown tenfold, and the rest when it ends.
 */
import type { BusEvents } from "../../client/index.ts";
import { printNote } from "../print.ts";
import { openedRoom } from "./open-room.ts";

type Drop = BusEvents["suspicious"];

/** Maximum number of kinds that are counted. Members cause drops and must not exhaust memory. */
const kindsMax = 100;

interface Count {
  readonly drop: Drop;
  count: number;
  reported: number;
}

/** Reasons that no unibus client can have caused. */
const foreign: ReadonlySet<string> = new Set(["not_json", "not_canonical", "too_large", "bad_envelope"]);

function personIn(roomId: string | null, endpoint: string): string {
  const handle = openedRoom(roomId)?.members.find((one) => one.endpoint === endpoint)?.handle;
  return handle === undefined ? endpoint : `${handle} (${endpoint})`;
}

/** Describes one kind of drop. */
function dropText({ roomId, what, from, claims }: Drop, count: number): string {
  const messages = count === 1 ? "1 message" : `${count} messages`;
  const name = openedRoom(roomId)?.subject ?? roomId;
  if (from !== undefined) return `${messages} of ${personIn(roomId, from)} in ${name} dropped: ${what}`;
  const sender = claims === undefined ? "of an unknown sender" : `naming ${personIn(roomId, claims)} as sender`;
  if (what === "not_decryptable") {
    const why = "sealed with a key that you do not have, or forged";
    return `${messages} ${sender} in ${name} cannot be read: ${what} (${why})`;
  }
  if (foreign.has(what)) {
    return `${messages} ${sender} in ${name} dropped: ${what}, not made by a unibus client (--raw shows them)`;
  }
  return `${messages} ${sender} in ${name} dropped: ${what} (the sender or the server is at fault)`;
}

/** Counts the messages that a command drops, and prints warnings. */
export class DropNotes {
  readonly #counts = new Map<string, Count>();

  constructor(private readonly follows: boolean) {}

  /** Counts a drop. */
  take(drop: Drop): void {
    const key = [drop.roomId, drop.what, drop.from, drop.claims].join(" ");
    const known = this.#counts.get(key);
    if (known === undefined && this.#counts.size >= kindsMax) return;
    const one = known ?? { drop, count: 0, reported: 0 };
    this.#counts.set(key, one);
    one.count += 1;
    if (this.follows && (one.reported === 0 || one.count >= 10 * one.reported)) this.#report(one);
  }

  /** Prints the drops that were not printed yet. */
  flush(): void {
    for (const one of this.#counts.values()) if (one.count > one.reported) this.#report(one);
  }

  #report(one: Count): void {
    one.reported = one.count;
    printNote(`warning: ${dropText(one.drop, one.count)}`);
  }
}
