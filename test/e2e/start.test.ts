/** The pages docs/start.md and docs/by-hand.md: every command and program runs as printed, in order. */
import { expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { executable, Folder, until } from "../support/executable.ts";
import { type Block, blocksOf, fileNameOf } from "../support/pages.ts";

/** Timeout of each guide, generous for a busy machine, in milliseconds. */
const patienceMs = 120_000;

const root = join(import.meta.dir, "..", "..");

/** A reader of the guide: an empty folder, a shell, `unibus` on the path, and free ports. */
class Reader implements AsyncDisposable {
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
    this.#env = { PATH: path, HOME: this.folder.path, NO_COLOR: "1", ...ports };
    mkdirSync(this.folder.file("work"));
  }

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

  /** Runs a line and returns its output. A line that the guide marks as refused must fail. */
  async run(line: string): Promise<string> {
    if (line.startsWith("export ")) this.#exports += `${line}\n`;
    const child = this.#spawn(line);
    const output = [new Response(child.stdout).text(), new Response(child.stderr).text()];
    const [code, stdout = "", stderr = ""] = [await child.exited, ...(await Promise.all(output))];
    if (code !== (line.includes("# refused") ? 1 : 0)) throw new Error(`${line}\nexit ${code}: ${stderr}`);
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
    if (line === "unibus serve") await this.#served();
    if (line.includes("tail")) await until("the tail follows the room", () => said.includes("following"));
    if (/serve-rpc|answer\.mjs/.test(line)) await until("the server answers", () => said.includes("answering"));
  }

  /** The output so far of a line that runs in another terminal. */
  said(part: string): string {
    return this.#children.find(({ line }) => line.includes(part))?.said() ?? "";
  }

  async #served(): Promise<void> {
    const file = this.file("unibus-data/ready.json");
    await until("the server is ready", () => existsSync(file));
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

const linesOf = ({ text }: Block): string[] => text.split("\n").filter(Boolean);

test(
  "docs/start.md: every command works, from an empty folder",
  async () => {
    await using reader = new Reader();
    const printed = new Map<string, string>();
    for (const block of blocksOf("start.md")) {
      expect(["sh", "sh background"]).toContain(block.kind);
      for (const line of linesOf(block)) {
        if (block.kind === "sh background") await reader.start(line);
        else printed.set(line, await reader.run(line));
      }
    }
    expect(printed.get("unibus whoami")).toMatch(/^handle +ana$/m);
    expect(printed.get("unibus history room.team")).toEndWith("  ana  just me so far\n");
    expect(printed.get("unibus history room.team --limit 5")).toMatch(/ 996\n.* 997\n.* 998\n.* 999\n.* 1000\n$/s);
    expect(JSON.parse(printed.get("unibus history room.team --limit 1 --json") ?? "")).toMatchObject({ text: "1000" });
    expect(printed.get('unibus request rpc.upper "is anybody there?"')).toBe("IS ANYBODY THERE?");
    expect(printed.get("unibus chat room.team")).toContain("ana  1000\n");
    expect(readFileSync(reader.file("copy.txt"), "utf8")).toBe("the minutes of today\n");
    await until("bob received ana's message", () =>
      /ana {2}hello bob\n.*ana {2}1000\n.*the minutes \[file/s.test(reader.said("tail")),
    );
    expect(reader.said("tail")).not.toContain("without bob");
  },
  patienceMs,
);

test(
  "docs/by-hand.md: every command and program works",
  async () => {
    await using reader = new Reader();
    await reader.start("unibus serve");
    symlinkSync(join(root, "node_modules"), reader.file("node_modules"));
    const printed: string[] = [];
    for (const { kind, text } of blocksOf("by-hand.md")) {
      const name = fileNameOf({ kind, text });
      if (name !== undefined) writeFileSync(reader.file(name), text);
      if (name === "create.mjs") expect(await reader.run("node create.mjs room.first")).toContain("status: 201");
      if (kind === "text") expect(printed.at(-1)).toBe(text);
      if (name !== undefined || !["", "sh background"].includes(kind)) continue;
      for (const typed of linesOf({ kind, text })) {
        const line = typed.replace(/nats:\/\/127\.0\.0\.1:\d+/, '"$NATS"');
        if (kind === "sh background") await reader.start(line);
        // The packages are already installed.
        else if (!line.startsWith("npm install")) printed.push(await reader.run(line));
      }
    }
    const question = "is anybody there?";
    const history = ["hello", "again", "signed", question].map((line) => `${line}\n`).join("");
    expect(printed).toContain("IS ANYBODY THERE?\n");
    // Twice: the history, and the first read of the durable; its second read is empty.
    expect(printed.filter((one) => one === history)).toHaveLength(2);
    expect(printed[printed.lastIndexOf(history) + 1]).toBe("");
    const [, byHand = "", byUnibus = ""] = printed.slice(-3);
    expect(byHand).toMatch(/^\S{8} {2}from the command line\n\S{8} {2}made by hand\n$/);
    expect(byUnibus).toMatch(/ ana {2}from the command line\n.* ana {2}made by hand\n$/);
    expect(printed.find((one) => one.includes('"handle":"ana"'))).toContain('"members":[');
  },
  patienceMs,
);
