/**
 * A chat at a terminal. node:readline edits the input line (cursor keys, history, words, UTF-8), but draws nothing: its
 * output is dropped. `TerminalFooter` draws what it holds, below the lines of the chat.
 */
import { createInterface, type Interface } from "node:readline";
import { Writable } from "node:stream";
import { divertNotes, printLine } from "../print.ts";
import { wrapped } from "../terminal-cells.ts";
import { TerminalFooter } from "../terminal-footer.ts";
import { type Piece, painter, safePieces } from "../terminal-text.ts";
import type { ChatScreen } from "./chat-screen.ts";

/** Maximum number of typed lines in the queue. Above it, reading pauses. */
const waitingMax = 100;
/** How many typed lines the up key goes back to. */
const historyMax = 200;
/** The most lines of a pasted text that are sent as one message. */
const pastedMax = 1_000;
/** How far the rows of a long line are indented, below the text of its first one. */
const indent = 14;

interface Key {
  readonly name?: string;
  readonly ctrl?: boolean;
}

/** A terminal. Output appears above the status line and the line being typed. */
export class TerminalScreen implements ChatScreen {
  readonly isTerminal = true;
  onKey: (line: string) => void = () => undefined;
  readonly #reader: Interface;
  readonly #footer: TerminalFooter;
  readonly #waiting: string[] = [];
  /** The lines of a pasted text, before the one in the input line. They are sent with it, as one message. */
  #pasted: string[] = [];
  #isPasting = false;
  readonly #release = new DisposableStack();
  #status: string | null = null;
  #paintStatus: (text: string) => Piece = (text) => text;
  #isClosed = false;
  #isDrawing = false;
  #wake: () => void = () => undefined;

  constructor(prompt: string) {
    const output = new Writable({ write: (_chunk, _encoding, done) => done() });
    const { stdin: input, stdout } = process;
    const options = { input, output, prompt: "", terminal: true, historySize: historyMax };
    this.#reader = createInterface({ ...options, removeHistoryDuplicates: true });
    this.#footer = new TerminalFooter(() => ({
      ...{ status: this.#status, paint: this.#paintStatus, prompt: `${prompt}${this.#pastedText}` },
      ...{ line: this.#reader.line, cursor: this.#reader.cursor },
    }));
    this.#reader.on("line", (line) => this.#entered(line));
    this.#reader.on("close", () => this.#end());
    // In this mode Ctrl-C is a key, not a signal.
    this.#reader.on("SIGINT", () => this.#interrupted());
    this.#reader.on("SIGCONT", () => {
      this.#reader.resume();
      this.#footer.restart();
    });
    // The reader listens first, so its line is up to date here.
    const pressed = (_: unknown, key: Key | undefined) => this.#pressed(key);
    const resized = () => this.#footer.resized();
    input.on("keypress", pressed);
    stdout.on("resize", resized);
    this.#release.defer(() => void input.off("keypress", pressed));
    this.#release.defer(() => void stdout.off("resize", resized));
    const paint = painter();
    // On the same terminal, a note must not be written into the input line.
    const shows = (note: string) => void this.say([paint(`    * ${note}`, "yellow")]);
    if (process.stderr.isTTY) this.#release.defer(divertNotes(shows));
    this.#reader.prompt();
    this.#footer.draw();
  }

  get typed(): AsyncIterable<string> {
    return this.#lines();
  }

  async say(...lines: readonly (readonly Piece[])[]): Promise<void> {
    const width = (process.stdout.columns || 80) - 1;
    if (!this.#isClosed)
      return this.#footer.print(lines.flatMap((line) => wrapped(line, width, indent)).map(safePieces));
    for (const line of lines) await printLine(...line);
  }

  status(text: string, paint: (text: string) => Piece): void {
    this.#status = text;
    this.#paintStatus = paint;
    this.#draw();
  }

  suggest(text: string): void {
    if (this.#isClosed || this.#reader.line !== "") return;
    this.#reader.write(text);
    this.#draw();
  }

  close(): void {
    if (!this.#isClosed) this.#reader.close();
  }

  #pressed(key: Key | undefined): void {
    if (this.#isClosed) return;
    if (key?.name === "paste-start" || key?.name === "paste-end") this.#isPasting = key.name === "paste-start";
    this.onKey(this.#reader.line);
    if (key?.ctrl === true && key.name === "l") this.#footer.restart({ clears: true });
    this.#draw();
  }

  /** Draws once for all keys that came at once, such as a pasted text. */
  #draw(): void {
    if (this.#isDrawing) return;
    this.#isDrawing = true;
    queueMicrotask(() => {
      this.#isDrawing = false;
      if (!this.#isClosed) this.#footer.draw();
    });
  }

  #interrupted(): void {
    if (this.#reader.line === "" && this.#pasted.length === 0) {
      this.#take("/quit");
      return;
    }
    // As in a shell, the first Ctrl-C drops what is typed.
    this.#pasted = [];
    this.#reader.write(null, { ctrl: true, name: "e" });
    this.#reader.write(null, { ctrl: true, name: "u" });
    this.#draw();
  }

  get #pastedText(): string {
    const { length } = this.#pasted;
    return length === 0 ? "" : `[${length} pasted ${length === 1 ? "line" : "lines"}] `;
  }

  #entered(line: string): void {
    if (this.#isPasting && this.#pasted.length < pastedMax) {
      this.#pasted.push(line);
      return;
    }
    const text = [...this.#pasted, line].join("\n").trimEnd();
    this.#pasted = [];
    this.#take(text);
  }

  #take(line: string): void {
    this.#waiting.push(line);
    if (this.#waiting.length >= waitingMax) this.#reader.pause();
    this.#wake();
  }

  #end(): void {
    this.#isClosed = true;
    this.#release.dispose();
    this.#footer.close();
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
