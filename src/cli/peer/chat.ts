/**
 * The command `chat`: an interactive chat in one room, line by line.
 * It shows the last messages, then new ones while it reads typed lines. Each text message gets a number, by which
 * `/react` and `/reply` refer to it. Changes of the members are shown as notes. The chat ends on /quit, Ctrl-D, Ctrl-C,
 * or when the peer is out of the room; before it ends it waits briefly until the person's own last message has come
 * back.
 */
import type { Bus, Message, Room } from "../../client/index.ts";
import { pause, waitFor } from "../../client/transport/wait.ts";
import { SeenSet } from "../../lib/seen-set.ts";
import { CliCommand } from "../cli-command.ts";
import { painter } from "../terminal-text.ts";
import { type ChatScreen, openScreen } from "./chat-screen.ts";
import { lastMessages } from "./history.ts";
import { isOriginal, MessageLines } from "./message-lines.ts";
import { openRoom, type RoomChoices, roomText, sendingCommand } from "./open-room.ts";
import { asPeer, type PeerOptions, peerCommand } from "./peer.ts";

/** How many messages are shown at the start. */
const shownFirst = 20;
/** How many messages keep a number for `/react` and `/reply`. */
const numberedMax = 1_000;
/** How long the end waits for the last sent message to come back, in milliseconds. */
const echoWaitMs = 2_000;

const help = [
  "/who                   list the members",
  "/react [NUMBER] EMOJI  react to a message: the newest, or the one with that number",
  "/reply NUMBER TEXT     answer a message, in its thread",
  "/quit                  leave the chat, not the room (also Ctrl-D)",
  "//TEXT                 send a text that begins with a slash",
];

/** Message ids are unique only together with their sender. */
const keyOf = ({ from, id }: { readonly from: string; readonly id: string }): string => `${from}.${id}`;

/** One person's chat in one room. */
class Chat {
  readonly #lines: MessageLines;
  readonly #paint = painter();
  readonly #seen = new SeenSet(numberedMax);
  readonly #numbered = new Map<number, Message>();
  readonly #said = new Set<string>();
  #number = 0;
  #present: ReadonlyMap<string, string>;
  /** The room state of the last note about members. Names are recomputed only when the state changes. */
  #shownState: Room["state"] | null = null;
  #whenShown: () => void = () => undefined;

  constructor(
    private readonly bus: Bus,
    private readonly room: Room,
    private readonly screen: ChatScreen,
    private readonly signal: AbortSignal,
  ) {
    this.#lines = new MessageLines(room, true);
    this.#present = this.#namesNow();
  }

  /** Shows the last messages and then new ones, while it sends typed lines. Errors: forbidden, gone. */
  async run(): Promise<void> {
    using changes = new DisposableStack();
    changes.defer(this.bus.on("rooms", ({ roomId }) => void (roomId === this.room.id && this.#refreshed())));
    await using messages = this.room.messages({ signal: this.signal });
    await messages.ready;
    const { subject, members } = this.room;
    await this.#note(`${subject}, ${members.length} members; type a message, or /help for commands`);
    for (const message of await lastMessages(this.room, shownFirst, this.signal)) await this.#show(message);
    const reading = (async () => {
      for await (const message of messages) await this.#show(message);
    })();
    await Promise.race([reading, this.#talk()]);
  }

  async #talk(): Promise<void> {
    for await (const line of this.screen.typed) {
      if (this.signal.aborted || /^\/quit\s*$/.test(line)) break;
      try {
        await this.#typed(line);
      } catch (error) {
        await this.#note(`not sent: ${(error as Error).message}`);
      }
    }
    const shown = new Promise<void>((resolve) => {
      this.#whenShown = resolve;
    });
    if (this.#said.size > 0) await waitFor(Promise.race([shown, pause(echoWaitMs, this.signal)]), this.signal);
  }

  async #typed(line: string): Promise<void> {
    const [, command, rest = ""] = /^\/(\w+)\s*(.*)$/.exec(line) ?? [];
    if (line.trim() === "") return;
    if (command === undefined) return this.#say(this.room.send(line.replace(/^\/\//, "/"), { signal: this.signal }));
    if (command === "who") return this.#who();
    if (command === "react") return this.#react(rest);
    if (command === "reply") return this.#reply(rest);
    if (command !== "help") return this.#note(`unknown command /${command} (see /help)`);
    for (const one of help) await this.#note(one);
  }

  async #say(sending: Promise<{ readonly id: string }>): Promise<void> {
    const key = keyOf({ from: this.bus.identity.endpoint, id: (await sending).id });
    // The message may have come back before its ack.
    if (!this.#seen.has(key)) this.#said.add(key);
  }

  async #react(rest: string): Promise<void> {
    const [, number, emoji = ""] = /^(?:(\d+)\s+)?(\S.*)$/.exec(rest.trim()) ?? [];
    const message = this.#numbered.get(number === undefined ? this.#number : Number(number));
    if (message === undefined || emoji === "") return this.#note("usage: /react [NUMBER] EMOJI");
    await this.#say(this.room.react(message, emoji, { signal: this.signal }));
  }

  async #reply(rest: string): Promise<void> {
    const [, number, text = ""] = /^(\d+)\s+(\S.*)$/.exec(rest) ?? [];
    const message = this.#numbered.get(Number(number));
    if (message === undefined) return this.#note("usage: /reply NUMBER TEXT");
    await this.#say(this.room.reply(message, text, { signal: this.signal }));
  }

  async #who(): Promise<void> {
    for (const { endpoint: from, handle, role, left } of this.room.members) {
      await this.#note(`${this.#lines.nameOf({ from, handle })}  ${role}${left ? ", left" : ""}  ${from}`);
    }
  }

  async #show(message: Message): Promise<void> {
    if (!this.#seen.add(keyOf(message))) return;
    await this.#printChanges();
    const isNumbered = isOriginal(message.kind);
    if (isNumbered) this.#keep(message);
    const mark = isNumbered ? String(this.#number) : "";
    await this.screen.say(this.#paint(mark.padStart(3), "dim"), " ", ...this.#lines.lineOf(message));
    this.#said.delete(keyOf(message));
    if (this.#said.size === 0) this.#whenShown();
  }

  #keep(message: Message): void {
    this.#number += 1;
    this.#numbered.set(this.#number, message);
    this.#numbered.delete(this.#number - numberedMax);
  }

  /** Updates the room after a change. If this peer is out of the room, reading ends by itself. */
  async #refreshed(): Promise<void> {
    await this.room
      .refresh(this.signal)
      .then(() => this.#printChanges())
      .catch(() => undefined);
  }

  /** Shows which members came in or went out, according to the signed state. */
  async #printChanges(): Promise<void> {
    if (this.room.state === this.#shownState) return;
    this.#shownState = this.room.state;
    const before = this.#present;
    this.#present = this.#namesNow();
    for (const [endpoint, name] of this.#present) if (!before.has(endpoint)) await this.#note(`* ${name} joined`);
    for (const [endpoint, name] of before)
      if (!this.#present.has(endpoint)) await this.#note(`* ${name} is no longer a member`);
  }

  #namesNow(): ReadonlyMap<string, string> {
    const names = this.room.members.map(({ endpoint: from, handle }) => {
      return [from, this.#lines.nameOf({ from, handle })] as const;
    });
    return new Map(names);
  }

  #note(text: string): Promise<void> {
    return this.screen.say(this.#paint(text, "dim"));
  }
}

async function chat(name: string, options: PeerOptions & RoomChoices): Promise<void> {
  const talk = async (bus: Bus, signal: AbortSignal) => {
    const room = await openRoom(bus, name, signal, options);
    const screen = openScreen("> ");
    try {
      await new Chat(bus, room, screen, signal).run();
    } finally {
      screen.close();
    }
  };
  await asPeer(options, talk, { follows: true });
}

/** The command `chat ROOM`. */
export function chatCommand(): CliCommand {
  const command = new CliCommand("chat", {
    summary: `talk in a room, line by line; begins with its last ${shownFirst} messages`,
    example: "unibus chat room.team",
  });
  return sendingCommand(peerCommand(command))
    .argument("<room>", roomText)
    .addHelpText("after", `\nIn the chat:\n${help.map((line) => `  ${line}`).join("\n")}`)
    .action(chat);
}
