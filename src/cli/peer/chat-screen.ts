import { clearScreenDown, createInterface, cursorTo, type Interface, moveCursor } from "node:readline";
import { linesOf } from "../input.ts";
import { printLine } from "../print.ts";
import type { Piece } from "../terminal-text.ts";

/** Maximum number of typed lines in the queue. Above it, reading pauses. */
const waitingMax = 100;

/** The screen of a chat, on a terminal or on pipes: lines out, lines in. */
export interface ChatScreen {
  /** The typed lines, until the person ends the chat. */
  readonly typed: AsyncIterable<string>;
  /** Shows a line. */
  say(...pieces: readonly Piece[]): Promise<void>;
  /** Restores the terminal. */
  close(): void;
}

/** A terminal. Output appears above the line being typed. */
class TerminalScreen implements ChatScreen {
  readonly #reader: Interface;
  readonly #waiting: string[] = [];
  #isClosed = false;
  #wake: () => void = () => undefined;

  constructor(private readonly prompt: string) {
    this.#reader = createInterface({ input: process.stdin, output: process.stdout, prompt, terminal: true });
    this.#reader.on("line", (line) => this.#take(line));
    this.#reader.on("close", () => this.#end());
    // In this mode Ctrl-C is a key, not a signal.
    this.#reader.on("SIGINT", () => this.#reader.close());
    this.#reader.prompt();
  }

  get typed(): AsyncIterable<string> {
    return this.#lines();
  }

  async say(...pieces: readonly Piece[]): Promise<void> {
    if (this.#isClosed) return printLine(...pieces);
    this.#clear(this.#reader.getCursorPos().rows);
    await printLine(...pieces);
    if (!this.#isClosed) this.#reader.prompt(true);
  }

  close(): void {
    if (!this.#isClosed) this.#reader.close();
  }

  #take(line: string): void {
    // The typed line comes back as a message, so erase its echo.
    const width = Bun.stringWidth(this.prompt) + Bun.stringWidth(line);
    this.#clear(Math.floor(width / (process.stdout.columns || width + 1)) + 1);
    this.#reader.prompt();
    this.#waiting.push(line);
    if (this.#waiting.length >= waitingMax) this.#reader.pause();
    this.#wake();
  }

  #clear(rowsUp: number): void {
    moveCursor(process.stdout, 0, -rowsUp);
    cursorTo(process.stdout, 0);
    clearScreenDown(process.stdout);
  }

  #end(): void {
    this.#clear(0);
    this.#isClosed = true;
    this.#wake();
  }

  async *#lines(): AsyncGenerator<string, void> {
    for (;;) {
      const line = this.#waiting.shift();
      if (line !== undefined) {
        yield line;
        if (!this.#isClosed) this.#reader.resume();
      } else if (this.#isClosed) {
        return;
      } else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }
}

/** Pipes: plain lines without a prompt. */
class PipeScreen implements ChatScreen {
  readonly typed = textsOf(Bun.stdin.stream());

  say(...pieces: readonly Piece[]): Promise<void> {
    return printLine(...pieces);
  }

  close(): void {}
}

async function* textsOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string, void> {
  const decoder = new TextDecoder();
  for await (const line of linesOf(stream)) yield decoder.decode(line);
}

/** Opens this process's terminal, or its pipes. */
export function openScreen(prompt: string): ChatScreen {
  return process.stdin.isTTY && process.stdout.isTTY ? new TerminalScreen(prompt) : new PipeScreen();
}
