/**
 * A reader of the guides in docs/: types their commands into a shell, in order. Some commands go on in another terminal
 * until the scope ends. The first `unibus serve` sets UNIBUS_URL and NATS for all later commands.
 */
import { existsSync, mkdirSync, readFileSync, symlinkSync } from "node:fs";
import { executable, Folder, until } from "./executable.ts";

/** Timeout until a command in another terminal is ready, in milliseconds. */
const startMs = 60_000;

/** What a command in another terminal prints once it is ready, by a part of its line. */
const readyWords: Readonly<Record<string, string>> = {
  tail: "following",
  "serve-rpc": "answering",
  "answer.mjs": "answering",
  "bot.mjs": "answering",
  "http.server": "Serving HTTP",
};

/** A reader: an empty folder, a shell, `unibus` on the path, and free ports. */
export class Reader implements AsyncDisposable {
  readonly folder = new Folder();
  readonly #children: { readonly line: string; readonly child: Bun.Subprocess; readonly said: () => string }[] = [];
  readonly #env: Record<string, string>;
  #exports = "";

  constructor() {
    mkdirSync(this.folder.file("bin"));
    symlinkSync(executable, this.folder.file("bin", "unibus"));
    const free = "127.0.0.1:0";
    const ports = { UNIBUS_HTTP: free, UNIBUS_NATS: free, UNIBUS_WS: free };
    const path = `${this.folder.file("bin")}:${process.env.PATH}`;
    this.#env = { PATH: path, HOME: this.folder.path, NO_COLOR: "1", PYTHONUNBUFFERED: "1", ...ports };
    mkdirSync(this.folder.file("work"));
  }

  /** The path of a file in the reader's folder. */
  file(name: string): string {
    return this.folder.file("work", name);
  }

  #spawn(line: string): Bun.Subprocess<"ignore", "pipe", "pipe"> {
    const stdio = { stdin: "ignore", stdout: "pipe", stderr: "pipe" } as const;
    return Bun.spawn(["bash", "-c", `${this.#exports}${line}`], {
      cwd: this.folder.file("work"),
      env: this.#env,
      ...stdio,
    });
  }

  /** Runs a line and returns its output. A line that the guide marks with `exit 1` must fail. */
  async run(line: string): Promise<string> {
    if (line.startsWith("export ")) this.#exports += `${line}\n`;
    const child = this.#spawn(line);
    const output = [new Response(child.stdout).text(), new Response(child.stderr).text()];
    const [code, stdout = "", stderr = ""] = [await child.exited, ...(await Promise.all(output))];
    if (code !== (/# .*\bexit 1\b/.test(line) ? 1 : 0)) throw new Error(`${line}\nexit ${code}: ${stderr}`);
    return stdout;
  }

  /** Runs a line in another terminal and waits until it is ready. */
  async start(line: string): Promise<void> {
    const child = this.#spawn(`exec env ${line}`);
    let said = "";
    for (const stream of [child.stdout, child.stderr]) {
      void (async () => {
        for await (const chunk of stream) said += new TextDecoder().decode(chunk);
      })();
    }
    this.#children.push({ line, child, said: () => said });
    if (line.startsWith("unibus serve ") || line === "unibus serve") await this.#served();
    for (const [program, word] of Object.entries(readyWords)) {
      if (line.includes(program)) await until(`${program} prints "${word}"`, () => said.includes(word), startMs);
    }
  }

  /** The output so far of a line that runs in another terminal. */
  said(part: string): string {
    return this.#children.find(({ line }) => line.includes(part))?.said() ?? "";
  }

  async #served(): Promise<void> {
    const file = this.file("unibus-data/ready.json");
    await until("the server is ready", () => existsSync(file), startMs);
    const ready = JSON.parse(readFileSync(file, "utf8")) as { http: string; nats: string };
    this.#env.UNIBUS_URL = ready.http;
    this.#env.NATS = ready.nats;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { child } of this.#children.toReversed()) {
      child.kill("SIGTERM");
      await child.exited;
    }
    this.folder[Symbol.dispose]();
  }
}
