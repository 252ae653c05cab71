/** The screen of a chat: lines out, typed lines in. On pipes they are plain lines, without anything that moves. */
import { linesOf } from "../input.ts";
import { printLine } from "../print.ts";
import type { Piece } from "../terminal-text.ts";
import { TerminalScreen } from "./chat-terminal.ts";

/** The screen of a chat. */
export interface ChatScreen {
  /** Whether a person reads and types at a terminal. */
  readonly isTerminal: boolean;
  /** The typed lines, until the person ends the chat. Ctrl-C is a line with `/quit`. */
  readonly typed: AsyncIterable<string>;
  /** Called for each key that a person presses: the text of the input line now. */
  onKey: (line: string) => void;
  /** Shows lines. */
  say(...lines: readonly (readonly Piece[])[]): Promise<void>;
  /** Shows a status line below all lines. Nothing happens on pipes. */
  status(text: string, paint: (text: string) => Piece): void;
  /** Puts a text into the input line, for the person to change and send, if nothing is typed there. */
  suggest(text: string): void;
  /** Restores the terminal. */
  close(): void;
}

/** Pipes: plain lines without a prompt. */
class PipeScreen implements ChatScreen {
  readonly isTerminal = false;
  readonly typed = textsOf(Bun.stdin.stream());
  onKey: (line: string) => void = () => undefined;

  async say(...lines: readonly (readonly Piece[])[]): Promise<void> {
    for (const line of lines) await printLine(...line);
  }

  status(): void {}
  suggest(): void {}
  close(): void {}
}

async function* textsOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string, void> {
  const decoder = new TextDecoder();
  for await (const line of linesOf(stream)) yield decoder.decode(line);
}

/** Opens this process's terminal, or its pipes. */
export function openScreen(prompt: string): ChatScreen {
  const isTerminal = process.stdin.isTTY && process.stdout.isTTY && process.env.TERM !== "dumb";
  return isTerminal ? new TerminalScreen(prompt) : new PipeScreen();
}
