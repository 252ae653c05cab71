/**
 * Denials: a log of every removal of access, one line each, kept outside the store. A backup lacks the removals that
 * came after it, so `unibus restore` replays this log and a restored bus does not readmit anyone it had removed. One
 * kind takes a denial back: `user-restored` voids the revocations of that user before it.
 * A line is `<kind> <key> <RFC 3339 time>`.
 */
import { token } from "./plugin.ts";

/**
 * The kinds of denial, and the key of each:
 * `user-revoked`, `user-restored`, `user-deleted`, `admin-lost`: the user's sign_pub. `invite-spent`,
 * `invite-cancelled`: the invite's id. `left`: room id, endpoint and first epoch of the membership period, joined by
 * `/`. `room-deleted`: the room id. `erased`: room id and the hex sha256 of the frame, joined by `/`: a message id is
 * its sender's choice.
 */
export const denialKinds = [
  "user-revoked",
  "user-restored",
  "user-deleted",
  "admin-lost",
  "invite-spent",
  "invite-cancelled",
  "left",
  "room-deleted",
  "erased",
] as const;

/** A kind of denial. */
export type DenialKind = (typeof denialKinds)[number];

/** One denial. Units: `at` is in milliseconds since the epoch. */
export interface Denial {
  readonly kind: DenialKind;
  readonly key: string;
  readonly at: number;
}

/** The log of denials. */
export interface Denials {
  /**
   * Records a denial. Call it before the change itself, and for `user-restored` after it. Resolves once the line is on
   * disk. It never rejects: a line that cannot be written is retried in the background, and the plugin reports
   * unhealthy until it is written. So a full disk never delays a removal of access.
   */
  note(kind: DenialKind, key: string): Promise<void>;
}

/** The name of the denial log in the data directory. */
export const denialsFile = "denials";

/** The denial key of a membership period that its member left. */
export function stayDenialKey(roomId: string, endpoint: string, since: number): string {
  return `${roomId}/${endpoint}/${since}`;
}

/** Formats a denial as a line, including the line feed. */
export function denialLine({ kind, key, at }: Denial): string {
  return `${kind} ${key} ${new Date(at).toISOString()}\n`;
}

const lineShape = /^([a-z-]+) ([A-Za-z0-9_/-]{1,200}) (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)$/;

/**
 * Parses a denial log in order, up to the first invalid line, whose number is `fault`. Empty lines are ignored, and so
 * is a last line without a line feed: power failed while it was written, so no `note` of it ever resolved.
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

/** The token of the denial log. */
export const Denials = token<Denials>("denials");
