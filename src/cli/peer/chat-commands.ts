/**
 * What a person types in a chat: messages, and commands that begin with a slash. Everything that is sent goes through
 * the outbox, in the order in which it was typed. Each command has its help here.
 */
import type { LiveTimeline, Message, Room, SendOptions, Sent, TimelineItem } from "../../client/index.ts";
import { cutToWidth } from "../terminal-cells.ts";
import { type ShowProgress, saveFile, sendFile, typedPath } from "./chat-files.ts";
import type { ChatPresence } from "./chat-presence.ts";
import type { ChatScreen } from "./chat-screen.ts";
import type { ChatView } from "./chat-view.ts";
import { savedName } from "./file-name.ts";
import { sizeText } from "./message-lines.ts";

/** How long a message may wait for the server, in milliseconds. The outbox ends earlier with the chat. */
const patienceMs = 86_400_000;
/** The longest text that `/edit` puts into the input line, in characters. */
const editableMax = 4_000;

/** Something to send. */
export interface Said {
  /** The line as it was typed. */
  readonly typed: string;
  readonly send: () => Promise<Pick<Sent, "id">>;
  /** Whether what was sent, with this id, has come back and is in the timeline. */
  readonly isBack: (id: string) => boolean;
}

/** What the commands work on. */
export interface ChatContext {
  readonly room: Room;
  readonly timeline: LiveTimeline;
  readonly view: ChatView;
  readonly presence: ChatPresence;
  readonly screen: ChatScreen;
  /** This peer's endpoint. */
  readonly me: string;
  readonly signal: AbortSignal;
  /** Puts something into the outbox. */
  readonly send: (said: Said) => Promise<void>;
  /** Waits a moment until what this peer said is shown. Returns whether all of it is. */
  readonly isShown: () => Promise<boolean>;
  /** Lets work go on while the person types. Its error becomes a note. */
  readonly meanwhile: (work: Promise<unknown>) => void;
  readonly progress: ShowProgress;
  /** Shows a note. */
  readonly note: (text: string) => Promise<void>;
}

/** A typed line. `rest`: what follows the command. */
interface Typed {
  readonly line: string;
  readonly rest: string;
}

interface Command {
  /** How it is typed. */
  readonly usage: string;
  readonly help: string;
  readonly run: (chat: ChatContext, typed: Typed) => Promise<unknown>;
}

const sending = ({ signal }: ChatContext): SendOptions => ({ timeoutMs: patienceMs, signal });

/** Whether a message that was sent has come back. */
const isItem =
  ({ timeline }: ChatContext) =>
  (id: string): boolean =>
    timeline.item(id) !== null;

/** Splits off a number at the beginning. */
function numbered(rest: string): { readonly number: number | null; readonly text: string } {
  const [, number, text] = /^(\d{1,6})(?:\s+(.*))?$/s.exec(rest) ?? [];
  return number === undefined ? { number: null, text: rest } : { number: Number(number), text: text ?? "" };
}

/** The message with a number, if it is not removed; otherwise says why not, and returns null. */
async function messageOf(chat: ChatContext, item: TimelineItem<Message> | null, number: number | null) {
  if (item?.message != null) return item.message;
  const what = item !== null ? "was removed" : "is not known here";
  await chat.note(number === null ? "there is no message yet" : `message ${number} ${what}`);
  return null;
}

/** The message of this peer with a number, or its newest one. */
async function ownMessage(chat: ChatContext, number: number | null, verb: string): Promise<Message | null> {
  // Without a number, an older message must not be taken for one that is on its way.
  if (number === null && !(await chat.isShown())) {
    await chat.note(`your last message is not sent yet (${verb} another one by its number)`);
    return null;
  }
  const item = number === null ? chat.view.newestOwn : chat.view.item(number);
  if (number === null && item === null) {
    await chat.note(`there is no message of yours here (${verb} one by its number)`);
    return null;
  }
  return messageOf(chat, item, number);
}

async function edit(chat: ChatContext, { line, rest }: Typed): Promise<unknown> {
  const { number, text } = numbered(rest);
  const message = await ownMessage(chat, number, "edit");
  if (message === null) return;
  if (message.from !== chat.me) return chat.note(`message ${number} is not yours (edit your own)`);
  const item = chat.view.item(number ?? chat.view.numberOf(message.id) ?? undefined);
  if (text === "") {
    const old = item?.text ?? message.text;
    if (!chat.screen.isTerminal || old.length > editableMax || /[\r\n]/.test(old)) return usage(chat, "edit");
    return chat.screen.suggest(`/edit ${chat.view.numberOf(message.id)} ${old}`);
  }
  await chat.send({
    typed: line,
    send: () => chat.room.edit(message, text, sending(chat)),
    isBack: (id) => (chat.timeline.item(message.id)?.edit?.id ?? "") >= id,
  });
}

async function remove(chat: ChatContext, { line, rest }: Typed): Promise<unknown> {
  const { number, text } = numbered(rest);
  if (text !== "") return usage(chat, "delete");
  const message = await ownMessage(chat, number, "delete");
  if (message === null) return;
  await chat.send({
    typed: line,
    send: () => chat.room.delete(message, sending(chat)),
    isBack: () => chat.timeline.item(message.id)?.message == null,
  });
}

async function react(chat: ChatContext, { line, rest }: Typed): Promise<unknown> {
  const { number, text: emoji } = numbered(rest);
  if (emoji === "") return usage(chat, "react");
  const message = await messageOf(chat, chat.view.item(number ?? undefined), number);
  if (message === null) return;
  const { room, timeline } = chat;
  const isGivenNow = () =>
    timeline.item(message.id)?.reactions.some((one) => one.emoji === emoji && one.from.includes(chat.me)) === true;
  const isGiven = isGivenNow();
  await chat.send({
    typed: line,
    send: () => (isGiven ? room.unreact(message, emoji, sending(chat)) : room.react(message, emoji, sending(chat))),
    isBack: () => isGivenNow() !== isGiven,
  });
}

async function reply(chat: ChatContext, { line, rest }: Typed): Promise<unknown> {
  const { number, text } = numbered(rest);
  if (number === null || text === "") return usage(chat, "reply");
  const message = await messageOf(chat, chat.view.item(number), number);
  if (message === null) return;
  await chat.send({ typed: line, send: () => chat.room.reply(message, text, sending(chat)), isBack: isItem(chat) });
}

async function pin(chat: ChatContext, { line, rest }: Typed): Promise<unknown> {
  const { number, text } = numbered(rest);
  if (number === null || text !== "") return usage(chat, "pin");
  const message = await messageOf(chat, chat.view.item(number), number);
  if (message === null) return;
  const { pins } = chat.view;
  const changed = pins.includes(message.id) ? pins.filter((id) => id !== message.id) : [...pins, message.id];
  await chat.send({
    typed: line,
    send: () => chat.room.pin(changed, sending(chat)),
    isBack: () => chat.view.pins.join() === changed.join(),
  });
}

async function title(chat: ChatContext, { line, rest }: Typed): Promise<unknown> {
  if (rest === "") return chat.note(`this is ${chat.view.roomName}`);
  await chat.send({
    typed: line,
    send: () => chat.room.setTitle(rest, sending(chat)),
    isBack: () => chat.timeline.title?.by === chat.me,
  });
}

async function file(chat: ChatContext, { line, rest }: Typed): Promise<unknown> {
  if (rest === "") return usage(chat, "file");
  const send = () => sendFile(chat.room, typedPath(rest), sending(chat), chat.progress);
  await chat.send({ typed: line, send, isBack: isItem(chat) });
}

async function get(chat: ChatContext, { rest }: Typed): Promise<unknown> {
  const { number, text } = numbered(rest);
  if (number === null) return usage(chat, "get");
  const message = await messageOf(chat, chat.view.item(number), number);
  if (message === null) return;
  if (message.file() === null) return chat.note(`message ${number} has no file`);
  // The name is a text of its sender's, so a person decides whether it becomes a path.
  if (text === "" && !chat.screen.isTerminal) return usage(chat, "get");
  if (text === "") {
    await chat.note("where to? change the name, or press Enter");
    return chat.screen.suggest(`/get ${number} ${savedName(message.fileName, message.id)}`);
  }
  const path = typedPath(text);
  const saving = saveFile(message, path, { signal: chat.signal, show: chat.progress });
  const saved = saving.then((size) => chat.note(`${sizeText(size)} written to ${path}`));
  // A person goes on typing. In a pipe, the next line waits.
  return chat.screen.isTerminal ? chat.meanwhile(saved) : saved;
}

async function who(chat: ChatContext): Promise<void> {
  const { view, room, me, presence } = chat;
  const known = new Map(presence.others.map((one) => [one.endpoint, one]));
  for (const { endpoint, role, left } of room.members) {
    const { state = null, isTyping = false, readUpTo = null } = known.get(endpoint) ?? {};
    const number = readUpTo === null ? null : view.numberOf(readUpTo);
    const facts = [
      ...[role, left ? "left" : "", endpoint === me ? "you" : ""],
      ...[state === "present" ? "here" : (state ?? ""), isTyping ? "typing" : ""],
      number === null ? "" : `read up to ${number}`,
    ];
    await chat.note(`${view.lines.nameOf(endpoint)}  ${facts.filter(Boolean).join(", ")}  ${endpoint}`);
  }
}

async function help(chat: ChatContext): Promise<void> {
  for (const line of chatHelp) await chat.note(line);
}

/** The commands by name. `quit` is handled by the chat itself. */
const commands: Readonly<Record<string, Command>> = {
  reply: { usage: "/reply N TEXT", help: "answer message N, in its thread", run: reply },
  edit: { usage: "/edit [N] TEXT", help: "change your message N, or your last one", run: edit },
  delete: { usage: "/delete [N]", help: "remove message N, or your last one, for everyone", run: remove },
  react: { usage: "/react [N] EMOJI", help: "react to message N, or the newest; again takes it back", run: react },
  pin: { usage: "/pin N", help: "pin message N; again unpins it (owners)", run: pin },
  title: { usage: "/title TEXT", help: "give the room a title (owners)", run: title },
  file: { usage: "/file PATH", help: "send a file", run: file },
  get: { usage: "/get N [PATH]", help: "save the file of message N", run: get },
  who: { usage: "/who", help: "list members: who is here, who types, who read how far", run: who },
  help: { usage: "/help", help: "list these commands", run: help },
  quit: { usage: "/quit", help: "end the chat, and stay in the room (also Ctrl-D)", run: async () => undefined },
};

const usageWidth = 18;

/** The help of all commands, one line each. */
export const chatHelp: readonly string[] = [
  ...Object.values(commands).map((one) => `${one.usage.padEnd(usageWidth)}${one.help}`),
  `${"//TEXT".padEnd(usageWidth)}send a text that begins with a slash`,
];

function usage(chat: ChatContext, name: keyof typeof commands): Promise<void> {
  return chat.note(`usage: ${commands[name]?.usage}`);
}

/** Does what a typed line says. Errors: those of what it does itself; what it sends is refused by the outbox. */
export async function runTyped(chat: ChatContext, line: string): Promise<void> {
  if (line.trim() === "") return;
  const [, name, rest = ""] = /^\/(?!\/)(\S*)(?:\s+(.*))?$/s.exec(line.trimEnd()) ?? [];
  if (name === undefined) {
    const text = line.replace(/^\/\//, "/");
    return chat.send({ typed: line, send: () => chat.room.send(text, sending(chat)), isBack: isItem(chat) });
  }
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (command === undefined) return chat.note(`unknown command /${cutToWidth(name, usageWidth)} (see /help)`);
  await command.run(chat, { line, rest: rest.trim() });
}
