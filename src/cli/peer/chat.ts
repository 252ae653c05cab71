/**
 * The command `chat`: an interactive chat in one room, at a terminal or through pipes.
 *
 * `ChatView` shows the room's timeline, `runTyped` does what is typed, `Outbox` sends it in order, also after an
 * outage, and `ChatPresence` knows who is here. This file wires them, keeps the status line up to date, and ends the
 * chat: on /quit, Ctrl-D, Ctrl-C, or when the peer is out of the room.
 */
import type { Bus, LiveTimeline, Message, Room, RoomEvents, TimelineItem } from "../../client/index.ts";
import { UnibusError } from "../../client/index.ts";
import { pause, waitFor } from "../../client/transport/wait.ts";
import { hasCode } from "../../wire/errors.ts";
import { CliCommand } from "../cli-command.ts";
import { printNote } from "../print.ts";
import { painter } from "../terminal-text.ts";
import { type ChatContext, chatHelp, runTyped, type Said } from "./chat-commands.ts";
import { Outbox } from "./chat-outbox.ts";
import { ChatPresence } from "./chat-presence.ts";
import { type ChatScreen, openScreen } from "./chat-screen.ts";
import { statusLine } from "./chat-status.ts";
import { ChatView, shownFirst } from "./chat-view.ts";
import { openRoom, type RoomChoices, roomText, sendingCommand } from "./open-room.ts";
import { asPeer, type PeerOptions, peerCommand } from "./peer.ts";

/** How many messages of the history are read at the start: some of them are edits and reactions. */
const readFirst = 100;
/** How long the end waits for the last sent message to come back, in milliseconds. */
const echoWaitMs = 2_000;
/** How long the end waits until everything is sent, in milliseconds: for a person, and at the end of a pipe. */
const drainWaitMs = { terminal: 5_000, pipe: 30_000 } as const;
/** How long the end waits for what is being sent to be given up in order, in milliseconds. */
const endWaitMs = 10_000;
/** How often the status line shows the attempts of an outage, in milliseconds. */
const statusEveryMs = 1_000;

/** The dependencies of a `Chat`. */
interface ChatDeps {
  readonly bus: Bus;
  readonly room: Room;
  readonly timeline: LiveTimeline;
  readonly screen: ChatScreen;
  readonly signal: AbortSignal;
}

/** One person's chat in one room. */
class Chat {
  readonly #paint = painter();
  readonly #me: string;
  readonly #ending = new AbortController();
  readonly #view: ChatView;
  readonly #outbox: Outbox;
  readonly #presence: ChatPresence;
  readonly #context: ChatContext;
  /** What was sent and has not come back, by id. */
  readonly #said = new Map<string, Said>();
  #whenBack: () => void = () => undefined;
  readonly #jobs = new Set<Promise<unknown>>();
  #transfer: string | null = null;
  #wasAsked = false;
  #isStarted = false;

  constructor(private readonly deps: ChatDeps) {
    const { bus, room, timeline, screen } = deps;
    const signal = AbortSignal.any([deps.signal, this.#ending.signal]);
    this.#me = bus.identity.endpoint;
    const onShown = (item: TimelineItem<Message>) => this.#shown(item);
    this.#view = new ChatView({ room, timeline, screen, onShown, paint: this.#paint, me: this.#me });
    this.#presence = new ChatPresence(room, screen.isTerminal, () => this.#refresh());
    this.#outbox = new Outbox({
      isAway: () => bus.status.state === "reconnecting",
      onWaiting: () => void this.#note("* waiting to send: it goes out when the connection is back"),
      onSent: (count) => void this.#note(count === 1 ? "* sent: what waited" : `* sent: all ${count} that waited`),
      onRefused: ({ typed }, error) => this.#refused(typed, error),
      signal,
    });
    const note = (text: string) => this.#note(text);
    const send = (said: Said) => this.#send(said);
    const isShown = () => this.#isShown();
    this.#context = {
      ...{ room, timeline, screen, note, send, isShown, signal },
      meanwhile: (work) => this.#meanwhile(work),
      progress: (text) => {
        this.#transfer = text;
        this.#refresh();
      },
      ...{ me: this.#me, view: this.#view, presence: this.#presence },
    };
  }

  /** Says what was not sent. Returns how much that is. */
  reportUnsent(): number {
    const { unsent, isFirstUncertain } = this.#outbox;
    for (const [index, line] of unsent.entries()) {
      printNote(index === 0 && isFirstUncertain ? `may not be sent: ${line}` : `not sent: ${line}`);
    }
    return unsent.length;
  }

  /** Runs until the chat ends. Errors: forbidden, gone. */
  async run(): Promise<void> {
    const { room, timeline, signal } = this.deps;
    const ended = Promise.withResolvers<void>();
    ended.promise.catch(() => undefined);
    using releases = this.#listen();
    releases.defer(timeline.on("end", (error) => (error === null ? ended.resolve() : ended.reject(error))));
    this.deps.screen.status(`-- opening ${room.subject} --`, (text) => this.#paint(text, "dim"));
    await waitFor(timeline.ready, signal);
    const { members } = room;
    const people = members.length === 1 ? "1 member" : `${members.length} members`;
    await this.#note(`${this.#view.roomName}, ${people}; type a message, or /help for commands`, "");
    await this.#view.start();
    this.#isStarted = true;
    this.#refresh();
    try {
      await Promise.race([ended.promise, this.#talk().then(() => this.#drain())]);
    } finally {
      this.#ending.abort();
      const ends = Promise.allSettled([this.#outbox.settled(), ...this.#jobs]);
      await Promise.race([ends, pause(endWaitMs, undefined)]);
      await this.#view.settled();
    }
  }

  /** Listens to everything that the chat shows besides messages. */
  #listen(): DisposableStack {
    const { bus, room, screen, timeline } = this.deps;
    const releases = new DisposableStack();
    releases.use(this.#presence);
    screen.onKey = (line) => {
      this.#presence.pressed(line);
      this.#refresh();
    };
    releases.defer(
      bus.on("status", () => {
        this.#outbox.wake();
        this.#refresh();
      }),
    );
    releases.defer(timeline.on("change", () => this.#changed()));
    // Without a message, the client does not read what owners changed.
    const reread = () => void room.refresh(this.deps.signal).catch(() => undefined);
    releases.defer(bus.on("rooms", ({ roomId }) => void (roomId === room.id && reread())));
    for (const name of ["added", "removed", "role"] as const) {
      releases.defer(room.on(name, (change) => void this.#note(`* ${this.#changeText(name, change)}`)));
    }
    const timer = setInterval(() => this.#refresh(), statusEveryMs);
    releases.defer(() => clearInterval(timer));
    return releases;
  }

  async #talk(): Promise<void> {
    const { screen, signal } = this.deps;
    for await (const line of screen.typed) {
      if (signal.aborted) return;
      if (/^\/quit\s*$/.test(line)) {
        if (await this.#mayQuit()) return;
        continue;
      }
      this.#wasAsked = false;
      try {
        // In a pipe, a command may name what the line before it said.
        if (!screen.isTerminal && line.startsWith("/")) await this.#echoed();
        await runTyped(this.#context, line);
      } catch (error) {
        await this.#note((error as Error).message);
      }
    }
  }

  /** Whether the chat may end: with messages that wait for the connection, the person has to ask twice. */
  async #mayQuit(): Promise<boolean> {
    const { size } = this.#outbox;
    const isAway = this.deps.bus.status.state === "reconnecting";
    if (size === 0 || !isAway || this.#wasAsked || !this.deps.screen.isTerminal) return true;
    this.#wasAsked = true;
    const what = size === 1 ? "1 message is" : `${size} messages are`;
    await this.#note(`* ${what} not sent yet: /quit again to drop ${size === 1 ? "it" : "them"}`);
    return false;
  }

  /** Waits a while until everything is sent and has come back. */
  async #drain(): Promise<void> {
    const { signal, screen } = this.deps;
    const limitMs = this.#wasAsked ? 0 : drainWaitMs[screen.isTerminal ? "terminal" : "pipe"];
    await waitFor(Promise.race([this.#outbox.empty(), pause(limitMs, signal)]), signal).catch(() => undefined);
    if (this.#outbox.size === 0) await this.#echoed();
  }

  /** Waits until everything that was said is sent, and for a while until it has come back. */
  async #echoed(): Promise<void> {
    const { signal } = this.deps;
    await waitFor(this.#outbox.empty(), signal);
    if (this.#said.size === 0) return;
    const back = new Promise<void>((resolve) => {
      this.#whenBack = resolve;
    });
    await waitFor(Promise.race([back, pause(echoWaitMs, signal)]), signal);
  }

  /** Waits a moment until everything that was said is shown. Returns whether it is. */
  async #isShown(): Promise<boolean> {
    const { signal } = this.deps;
    if (this.#outbox.isWaiting) return false;
    const shown = this.#echoed().then(() => this.#view.settled());
    await waitFor(Promise.race([shown, pause(echoWaitMs, signal)]), signal);
    return this.#outbox.size === 0 && this.#said.size === 0;
  }

  async #send(said: Said): Promise<void> {
    while (!this.#outbox.hasRoom) {
      if (this.deps.screen.isTerminal) {
        const { size } = this.#outbox;
        return this.#refused(said.typed, new Error(`${size} messages wait already (wait for the connection)`));
      }
      await waitFor(this.#outbox.less(), this.deps.signal);
    }
    const send = async (): Promise<void> => {
      const { id } = await said.send();
      // It may have come back before its ack.
      if (!said.isBack(id)) this.#said.set(id, said);
      this.#refresh();
    };
    this.#outbox.add({ typed: said.typed, send });
    this.#refresh();
  }

  #meanwhile(work: Promise<unknown>): void {
    const job: Promise<unknown> = work
      .catch((error: unknown) => this.#note(`* ${(error as Error).message}`))
      .finally(() => this.#jobs.delete(job));
    this.#jobs.add(job);
  }

  #changed(): void {
    for (const [id, said] of this.#said) if (said.isBack(id)) this.#said.delete(id);
    if (this.#said.size === 0) this.#whenBack();
    this.#refresh();
  }

  #shown(item: TimelineItem<Message>): void {
    this.#presence.shown(item, item.from === this.#me);
    this.#refresh();
  }

  #refused(typed: string, error: unknown): void {
    const again = this.deps.screen.isTerminal ? "the up key gets it back" : typed;
    const what = hasCode(error, "timeout") ? "not confirmed" : "not sent";
    void this.#note(`* ${what}: ${(error as Error).message}; ${again}`);
    this.#refresh();
  }

  #changeText(name: "added" | "removed" | "role", change: RoomEvents["added"]): string {
    const member = this.#view.lines.nameOf(change.endpoint);
    const by = change.by === null ? "an owner" : this.#view.lines.nameOf(change.by);
    if (name === "added") return `${by} added ${member}`;
    if (name === "removed") return `${by} removed ${member}`;
    return change.role === "owner" ? `${by} made ${member} an owner` : `${member} is not an owner any more`;
  }

  /** Updates the status line. */
  #refresh(): void {
    const { bus, screen } = this.deps;
    if (!screen.isTerminal || !this.#isStarted) return;
    const { lines, newestOwn, roomName } = this.#view;
    const names = (holds: (one: ChatPresence["others"][number]) => boolean) =>
      this.#presence.others.filter(holds).map(({ endpoint }) => lines.nameOf(endpoint));
    const { text, colour } = statusLine({
      ...{ room: roomName, status: bus.status, unread: this.#presence.unread },
      typing: names(({ isTyping }) => isTyping),
      here: names(({ state }) => state !== null),
      readBy: newestOwn === null ? [] : names(({ readUpTo }) => (readUpTo ?? "") >= newestOwn.id),
      waiting: this.#outbox.isWaiting ? this.#outbox.size : 0,
      transfer: this.#transfer,
    });
    screen.status(text, (one) => this.#paint(one, colour));
  }

  #note(text: string, indent = "    "): Promise<void> {
    return this.#view.say([this.#paint(`${indent}${text}`, "dim")]);
  }
}

/** The options of `chat`. */
interface ChatOptions extends PeerOptions, RoomChoices {
  readonly signals: boolean;
}

async function chat(name: string, options: ChatOptions): Promise<void> {
  let unsent = 0;
  const talk = async (bus: Bus, signal: AbortSignal) => {
    bus.signals.isOn = options.signals;
    const room = await openRoom(bus, name, signal, options);
    const screen = openScreen("> ");
    await using timeline = room.timeline({ limit: readFirst, signal });
    const one = new Chat({ bus, room, timeline, screen, signal });
    try {
      await one.run();
    } finally {
      screen.close();
      unsent = one.reportUnsent();
    }
  };
  await asPeer(options, talk, { follows: true });
  if (unsent === 0) return;
  const what = unsent === 1 ? "1 message was" : `${unsent} messages were`;
  throw new UnibusError("unavailable", `${what} not sent (send again what is listed above)`);
}

/** The command `chat ROOM`. */
export function chatCommand(): CliCommand {
  const command = new CliCommand("chat", {
    summary: `talk in a room; begins with its last ${shownFirst} messages`,
    example: "unibus chat room.team",
  });
  return sendingCommand(peerCommand(command))
    .argument("<room>", roomText)
    .option("--no-signals", "neither send nor show who is here, who types, and how far each has read")
    .addHelpText(
      "after",
      `\nIn the chat, N is the number before a message:\n${chatHelp.map((line) => `  ${line}`).join("\n")}`,
    )
    .action(chat);
}
