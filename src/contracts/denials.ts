/**
 * Denials: what took access away, one line each, kept apart from the store. A backup is older than the denials that
 * came after it; `unibus restore` applies them, so that the restored bus does not admit again whom it had put out.
 * A line is `<kind> <key> <RFC 3339 time>`. Source: spec 19.
 */
import { token } from "./plugin.ts";

/**
 * What was denied. The key of each:
 * `user-revoked`, `user-deleted`, `admin-lost`: the user's sign_pub. `invite-spent`, `invite-cancelled`: the invite's
 * id. `left`: room id, endpoint and first epoch of the stay, joined by `/`. `room-deleted`: the room id. `erased`: room
 * id and message id, joined by `/`.
 */
export const denialKinds = [
  "user-revoked",
  "user-deleted",
  "admin-lost",
  "invite-spent",
  "invite-cancelled",
  "left",
  "room-deleted",
  "erased",
] as const;

/** What was denied. */
export type DenialKind = (typeof denialKinds)[number];

/** One denial. `at` in milliseconds since the epoch. */
export interface Denial {
  readonly kind: DenialKind;
  readonly key: string;
  readonly at: number;
}

/** Keeps denials. */
export interface Denials {
  /**
   * Notes a denial; call it before the change that it is about. Resolves when the line is on disk. It never fails: a
   * line that could not be written is tried again, and the plugin is not healthy meanwhile. A change that takes access
   * away does not wait for a disk that is full.
   */
  note(kind: DenialKind, key: string): Promise<void>;
}

/** The file of the denials in the data directory. */
export const denialsFile = "denials";

/** The key of a stay that was left. */
export function stayDenialKey(roomId: string, endpoint: string, since: number): string {
  return `${roomId}/${endpoint}/${since}`;
}

/** A denial as a line, with its line feed. */
export function denialLine({ kind, key, at }: Denial): string {
  return `${kind} ${key} ${new Date(at).toISOString()}\n`;
}

const lineShape = /^([a-z-]+) ([A-Za-z0-9_/-]{1,200}) (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)$/;

/**
 * The denials in a text, in its order, or the first line that is not one. Empty lines count for nothing, and so does a
 * last line without its line feed: it was being written when the power went, and nobody was told that it is there.
 */
export function parseDenials(text: string): { readonly denials: Denial[]; readonly fault: number | null } {
  const denials: Denial[] = [];
  const lines = text.split("\n").slice(0, -1);
  for (const [index, line] of lines.entries()) {
    if (line === "") continue;
    const [, kind, key = "", time = ""] = lineShape.exec(line) ?? [];
    const at = Date.parse(time);
    const known = denialKinds.find((one) => one === kind);
    if (known === undefined || Number.isNaN(at)) return { denials, fault: index + 1 };
    denials.push({ kind: known, key, at });
  }
  return { denials, fault: null };
}

/** The denials. */
export const Denials = token<Denials>("denials");
