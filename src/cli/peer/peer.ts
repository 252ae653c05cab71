/**
 * Connects a command to a bus as a peer: resolves the bus and the identity, connects, runs the work, and closes.
 * `asPeer` is the base; `asReader` is for commands that change nothing, `asSender` for commands that send to a room. A
 * command that follows a room runs until it is interrupted, which is not an error. Warnings and notes go to stderr,
 * each once. Every client command uses this.
 */
import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";
import { Option } from "commander";
import type { Bus } from "../../client/index.ts";
import { connect } from "../../client/index.ts";
import { waitFor } from "../../client/transport/wait.ts";
import { isUnibusError, UnibusError } from "../../wire/errors.ts";
import type { CliCommand } from "../cli-command.ts";
import { interruption } from "../interrupt.ts";
import { OutageNotes } from "../outage-notes.ts";
import { type PrintOptions, printNote, readerGone } from "../print.ts";
import { DropNotes } from "./drop-notes.ts";
import { identityOption } from "./identity.ts";
import { readIdentityFile } from "./identity-file.ts";
import { keyLifetime } from "./key-lifetime.ts";
import { pendingText } from "./open-room.ts";
import { placeOf, urlDefault, urlsOf } from "./remembered.ts";

/** The options of a command that acts as a peer. */
export interface PeerOptions extends PrintOptions {
  readonly url?: string;
  readonly dial?: string;
  readonly identity?: string;
  readonly busClock?: boolean;
}

/** The option `--bus-clock`. */
export function busClockOption(): Option {
  return new Option("--bus-clock", "use the server's clock, however far it differs from this computer's");
}

/** Adds the options for the bus and the identity to a command. */
export function peerCommand(command: CliCommand): CliCommand {
  return command
    .addOption(
      new Option(
        "--url <urls>",
        `URL of the bus, or several, separated by commas (default: the one in use, see unibus use, or ${urlDefault})`,
      ).env("UNIBUS_URL"),
    )
    .addOption(dialOption())
    .addOption(busClockOption())
    .addOption(identityOption());
}

/** The option `--dial`, for a command on the bus's own machine, which may not reach its public address. */
export function dialOption(): Option {
  return new Option(
    "--dial <host:port>",
    "connect to this address, but sign for --url; for use on the server's machine, as in 127.0.0.1:8470 (default: --url)",
  ).env("UNIBUS_DIAL");
}

/** The folder for this identity's client state, which keeps the bus from rolling back what the client has seen. */
export function stateFolder(endpoint: string): string {
  const { XDG_STATE_HOME: state, HOME: home } = process.env;
  const base = state && isAbsolute(state) ? state : join(home || homedir(), ".local", "state");
  return join(base, "unibus", endpoint);
}

/** The message of an error, for a note. */
export const messageOf = (error: unknown): string =>
  isUnibusError(error) ? error.message : String((error as Error)?.message ?? error);

/**
 * Prints events other than messages to stderr, each once. Returns the counter of dropped messages, to be flushed at the
 * end.
 */
function printEventsOf(bus: Bus, follows: boolean): DropNotes {
  const drops = new DropNotes(follows);
  const printed = new Set<string>();
  const once = (note: string, isVital = false): void => {
    // Notes that members can cause must not use up the limit of notes that a person must act on.
    if (printed.has(note) || (printed.size >= notesMax && !isVital)) return;
    printed.add(note);
    printNote(note);
  };
  bus.on("warning", (warning) => once(`warning: ${warning}`));
  bus.on("suspicious", (what) => {
    // The command that opens the room prints this, or refuses.
    if (what.what === "owner_conflict") return;
    if (what.error === undefined) drops.take(what);
    else once(`warning: ${what.error.message}`, true);
  });
  bus.on("rekeyPending", (pending) => once(`note: ${pendingText(pending)}`, true));
  bus.on("lost", ({ why }) => once(`warning: messages were lost: ${why} (a persisted room loses none)`));
  const outage = follows ? new OutageNotes(bus) : null;
  bus.on("trouble", (error) => {
    if (outage?.explains(error) !== true) once(`warning: ${messageOf(error)}`);
  });
  return drops;
}

/** More distinct notes than a person reads. */
const notesMax = 100;

/** How a command acts as a peer. */
export interface Acting {
  /** Whether it runs until it is asked to stop, which then counts as success. */
  readonly follows?: boolean;
  /**
   * Whether it signs out departed members and replaces old keys in rooms that it owns. Default: the value of `follows`.
   */
  readonly settles?: boolean;
  /** Whether it changes nothing. Other commands print which bus they use if several are known. */
  readonly reads?: boolean;
  /** Whether it has something to clean up when it is interrupted: then the work ends by itself, by its signal. */
  readonly cleansUp?: boolean;
}

/**
 * Connects as the peer in the options, runs the work, and always closes. The data plane connects on first use. The
 * signal asks the work to stop.
 * Errors: those of the work; `Interrupted` if it was asked to stop before it was done.
 */
export async function asPeer(
  options: PeerOptions,
  work: (bus: Bus, signal: AbortSignal) => Promise<void>,
  { follows = false, reads = false, settles = follows, cleansUp = follows }: Acting = {},
): Promise<void> {
  const at = placeOf(options);
  const identity = await readIdentityFile(at.identity);
  if (at.isOneOfSeveral && !reads) printNote(`bus: ${at.bus}`);
  const asked = interruption();
  const signal = AbortSignal.any([asked, readerGone]);
  const isOver = () => readerGone.aborted || (follows && asked.aborted);
  try {
    const { dial, busClock } = options;
    const place = { urls: urlsOf(at.bus), dial, state: stateFolder(identity.endpoint), busClock };
    await using bus = await connect({
      ...{ ...place, identity, lazy: true, settles, keepsChains: true, keyLifetime: keyLifetime(), signal },
    });
    const drops = printEventsOf(bus, follows);
    try {
      // A command that follows completes its own work when it is asked to stop, too.
      await (cleansUp ? work(bus, signal) : waitFor(work(bus, signal), signal));
    } finally {
      drops.flush();
    }
  } catch (error) {
    if (isOver()) return;
    throw asked.aborted ? asked.reason : error;
  }
}

/** Like `asPeer`, for a command that sends to a room. A room that this peer owns is settled first. */
export async function asSender(
  options: PeerOptions,
  work: (bus: Bus, signal: AbortSignal) => Promise<void>,
  acting: Pick<Acting, "cleansUp"> = {},
): Promise<void> {
  await asPeer(options, work, { ...acting, settles: true });
}

/** Like `asPeer`, for a command that changes nothing. */
export async function asReader(
  options: PeerOptions,
  work: (bus: Bus, signal: AbortSignal) => Promise<void>,
  acting: Pick<Acting, "cleansUp"> = {},
): Promise<void> {
  await asPeer(options, work, { ...acting, reads: true });
}

/** A user as commands print one. */
export interface Named {
  readonly handle: string;
  readonly endpoint: string;
}

/** Formats a user for a note: the handle, and the endpoint, which is unique. */
export const nameText = ({ handle, endpoint }: Named): string => `${handle || "?"} (${endpoint})`;

/**
 * Resolves users named by handle, sign_pub or endpoint.
 * Errors: those of `directory.find`; forbidden, unless approved, if a handle now belongs to another peer than at first.
 */
export async function usersNamed(
  bus: Bus,
  who: readonly string[],
  { approve, signal }: { readonly approve?: boolean | undefined; readonly signal: AbortSignal },
): Promise<Named[]> {
  const found = await bus.directory.find(who, signal);
  for (const one of found) {
    if (one.pinned === null) continue;
    if (approve !== true) {
      const before = `the name, or one that looks the same, was ${one.pinned} when you first used it`;
      const what = `${JSON.stringify(one.handle)} is ${one.endpoint} now, and ${before}`;
      throw new UnibusError("forbidden", `${what} (ask them which is theirs; if it is the new one, add --approve)`);
    }
    await bus.directory.approve(one);
    printNote(`${nameText(one)} is approved`);
  }
  return found.map(({ handle, endpoint }) => ({ handle, endpoint }));
}
