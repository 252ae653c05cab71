/** A command at a terminal: captures what a person would see, as one text. */
import { executable, type Folder } from "./executable.ts";
import { Screen } from "./screen.ts";

/** A process whose stdin, stdout and stderr are one terminal. Lives until the scope ends. */
export class AtTerminal implements AsyncDisposable {
  readonly #child: Bun.Subprocess;
  /** Everything that the terminal showed, including what was typed. */
  said = "";
  /** What a person sees. */
  readonly screen: Screen;

  constructor(
    folder: Folder,
    args: readonly string[],
    env: Readonly<Record<string, string>> = {},
    { cols, rows }: { readonly cols: number; readonly rows: number } = { cols: 400, rows: 50 },
  ) {
    const decoder = new TextDecoder();
    this.screen = new Screen(cols, rows);
    this.#child = Bun.spawn([executable, ...args], {
      cwd: folder.path,
      env: { PATH: process.env.PATH ?? "", HOME: folder.path, TERM: "xterm", NO_COLOR: "1", ...env },
      terminal: {
        ...{ cols, rows },
        data: (_, bytes) => {
          const text = decoder.decode(bytes, { stream: true });
          this.said += text.replaceAll("\r\n", "\n");
          this.screen.write(text);
        },
      },
    });
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** Types, as a person does: Enter is `\r`. */
  type(keys: string): void {
    this.#child.terminal?.write(keys);
  }

  /** Resolves with the exit code. */
  get exited(): Promise<number> {
    return this.#child.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null) this.#child.kill("SIGTERM");
    await this.#child.exited;
    this.#child.terminal?.close();
  }
}
