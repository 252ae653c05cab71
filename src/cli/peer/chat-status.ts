/** The status line of a chat: the connection, who is typing and here, what is new, what is not sent yet. Pure. */
import { type BusStatus, isUnibusError } from "../../client/index.ts";
import type { Colour } from "../terminal-text.ts";

/** The most names in one list, and the longest name. */
const namesMax = { count: 3, characters: 20 } as const;
/** The longest cause of an outage, in characters. */
const causeLengthMax = 60;

/** What a status line is made of. */
export interface ChatState {
  /** The room's subject, with its title if it has one. */
  readonly room: string;
  readonly status: BusStatus;
  /** The names of the members who type, and of those who are here. */
  readonly typing: readonly string[];
  readonly here: readonly string[];
  /** The names of the members who have read everything that this peer said. */
  readonly readBy: readonly string[];
  /** How many messages came since the person pressed a key. */
  readonly unread: number;
  /** How many messages are not sent yet, if they wait. */
  readonly waiting: number;
  /** How far a file is, or null. */
  readonly transfer: string | null;
}

/** A list of names that stays short. */
function namesText(names: readonly string[]): string {
  const shown = names.slice(0, namesMax.count).map((name) => {
    const characters = [...name.slice(0, 4 * namesMax.characters)];
    return characters.length > namesMax.characters ? `${characters.slice(0, namesMax.characters).join("")}…` : name;
  });
  const more = names.length - shown.length;
  return more > 0 ? `${shown.join(", ")} and ${more} more` : shown.join(", ");
}

/** Why the last attempt to connect failed, in a few words: without the hint in brackets. */
function causeText(cause: unknown): string {
  const message = isUnibusError(cause) ? cause.message : String((cause as Error | null)?.message ?? cause);
  const short = message.replace(/ \([^()]*\)$/, "");
  return short.length > causeLengthMax ? `${short.slice(0, causeLengthMax)}…` : short;
}

/** The state of the connection, in a few words. */
function connectionText(status: BusStatus): string {
  return status.state === "reconnecting" ? `reconnecting, attempt ${status.attempt + 1}` : status.state;
}

/** The status line, the most important first: what does not fit is cut off at its end. */
export function statusLine(state: ChatState): { readonly text: string; readonly colour: Colour } {
  const { room, status, typing, here, readBy, unread, waiting, transfer } = state;
  const parts = [
    connectionText(status),
    ...(waiting > 0 ? [`${waiting} waiting to send`] : []),
    ...(status.state === "reconnecting" && status.cause !== null ? [causeText(status.cause)] : []),
    ...(transfer === null ? [] : [transfer]),
    ...(typing.length > 0 ? [`${namesText(typing)} ${typing.length === 1 ? "is" : "are"} typing`] : []),
    ...(unread > 0 ? [`${unread} new`] : []),
    ...(here.length > 0 ? [`here: ${namesText(here)}`] : []),
    ...(readBy.length > 0 ? [`read by ${namesText(readBy)}`] : []),
    room,
  ];
  return { text: `-- ${parts.join(" | ")} --`, colour: status.state === "reconnecting" ? "yellow" : "dim" };
}
