/**
 * `unibus demo`, shell completion, and the help of peer commands. The demo ignores the environment and the working
 * folder, and leaves no process or file behind, also after Ctrl-C.
 */
import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Folder, isAlive, unibus, until } from "../support/executable.ts";
import { AtTerminal } from "../support/terminal.ts";

/** Timeout of each test, generous for a busy machine, in milliseconds. */
const patienceMs = 60_000;

const root = join(import.meta.dir, "..", "..");

/** The output of a demo, without the parts that differ between runs. */
const storyOf = (text: string): string =>
  text
    .replace(/127\.0\.0\.1:\d+/g, "ADDRESS")
    .replace(/[A-Za-z0-9_+/-]{8}…/g, "ID")
    .replace(/\d+\.\d s/g, "TIME")
    .trim();

/** The lines of a quote that a text does not have in the quote's order. A line that ends with " ..." is a beginning. */
function missingFrom(text: string, quote: string): string[] {
  let rest = text.split("\n");
  return quote.split("\n").filter((line) => {
    const at = rest.findIndex((one) => one === line || (line.endsWith(" ...") && one.startsWith(line.slice(0, -4))));
    rest = rest.slice(at + 1);
    return at === -1;
  });
}

/** The pids of processes whose command line contains a folder. */
const processesIn = (folder: string): number[] =>
  readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(folder);
      } catch {
        return false;
      }
    });

describe("demo", () => {
  test(
    "shows the whole story of its page, which the README quotes, and leaves nothing behind",
    async () => {
      using folder = new Folder();
      // Neither the environment nor the working folder has any effect.
      writeFileSync(folder.file("plugins.json"), "no JSON");
      const env = { TMPDIR: folder.path, UNIBUS_FLAGS: "nonsense", UNIBUS_DATA: "elsewhere", UNIBUS_URL: "nonsense" };
      const { code, stdout, stderr } = await unibus(folder, ["demo"], { env });
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      const page = readFileSync(join(root, "docs", "how-a-kick-works.md"), "utf8");
      const [, shown = ""] = /^```text\n\$ unibus demo\n(.*?)^```$/ms.exec(page) ?? [];
      expect(storyOf(stdout)).toBe(storyOf(shown));
      const readme = readFileSync(join(root, "README.md"), "utf8");
      const [, quote = ""] = /^```text demo\n(.*?)^```$/ms.exec(readme) ?? [];
      expect(quote.split("\n").length).toBeGreaterThan(10);
      expect(missingFrom(storyOf(stdout), storyOf(quote))).toEqual([]);
      expect(readdirSync(folder.path)).toEqual(["plugins.json"]);
      expect(processesIn(folder.path)).toEqual([]);
    },
    patienceMs,
  );

  test(
    "exits with 130 on Ctrl-C at any time, and leaves nothing behind",
    async () => {
      for (const after of ["Starting a bus", "after", "They talk"]) {
        using folder = new Folder();
        await using demo = new AtTerminal(folder, ["demo"], { TMPDIR: folder.path });
        await until(`it prints: ${after}`, () => demo.said.includes(after));
        const natsPids = processesIn(folder.path);
        demo.type("\x03");
        expect(await demo.exited).toBe(130);
        expect(readdirSync(folder.path)).toEqual([]);
        await until("nats-server ended", () => !natsPids.some(isAlive));
      }
    },
    patienceMs,
  );

  test(
    "names the missing folder for temporary files",
    async () => {
      using folder = new Folder();
      const { code, stderr } = await unibus(folder, ["demo"], { env: { TMPDIR: folder.file("absent") } });
      expect(code).toBe(1);
      expect(stderr).toMatch(/^error: .*absent.* \(.*TMPDIR.*\)\n$/);
    },
    patienceMs,
  );
});

describe("completion", () => {
  test(
    "bash completes commands, options, choices and files",
    async () => {
      using folder = new Folder();
      writeFileSync(folder.file("script"), (await unibus(folder, ["completion", "bash"])).stdout);
      writeFileSync(folder.file("zebra.txt"), "");
      const complete = async (...words: string[]): Promise<string[]> => {
        const line =
          // biome-ignore lint/suspicious/noTemplateCurlyInString: the shell's own variable
          'source ./script; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _unibus; IFS=/; echo "${COMPREPLY[*]}"';
        const child = Bun.spawn(["bash", "-c", line, "bash", "unibus", ...words], { cwd: folder.path, stdout: "pipe" });
        return (await new Response(child.stdout).text()).trim().split("/").filter(Boolean).sort();
      };
      expect(await complete("ro")).toEqual(["room", "rooms"]);
      expect(await complete("room", "re")).toEqual(["rekey", "repair"]);
      expect(await complete("room", "new", "--m")).toEqual(["--mode"]);
      expect(await complete("room", "new", "room.x", "--mode", "")).toEqual(["matrix", "nats"]);
      expect(await complete("room", "role", "room.x", "bob", "o")).toEqual(["owner"]);
      expect(await complete("completion", "")).toEqual(["--help", "--json", "bash", "fish", "people", "rooms", "zsh"]);
      expect(await complete("send", "room.x", "--file", "z")).toEqual(["zebra.txt"]);
      expect(await complete("blob", "put", "room.x", "zeb")).toEqual(["zebra.txt"]);
      expect(await complete("send", "room.x", "--reply-to", "")).toEqual([]);
    },
    patienceMs,
  );

  test(
    "the scripts of all shells contain every command and option that the help lists",
    async () => {
      using folder = new Folder();
      const help = async (...path: string[]) => (await unibus(folder, [...path, "--help"])).stdout;
      const named = (text: string) => [...text.matchAll(/^ {2}([a-z][a-z0-9-]*)[ \n]/gm)].map(([, name]) => name ?? "");
      const options = (text: string) =>
        [...text.matchAll(/^ {2}(?:-\w, )?--([a-z][a-z-]*)/gm)].map(([, name]) => name ?? "");
      const words = [...named(await help()), ...named(await help("room")), ...options(await help("send"))];
      expect(words).toContain("serve-rpc");
      expect(words).toContain("rekey");
      expect(words).toContain("attach");
      for (const shell of ["bash", "zsh", "fish"]) {
        const { code, stdout, stderr } = await unibus(folder, ["completion", shell]);
        expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
        const known = new Set(stdout.split(/[^a-z0-9-]+/).map((word) => word.replace(/^--/, "")));
        expect([shell, words.filter((word) => !known.has(word))]).toEqual([shell, []]);
      }
    },
    patienceMs,
  );
});

test(
  "the help of every client command is self-contained, and needs no server",
  async () => {
    using folder = new Folder();
    const peer = [
      "whoami",
      "rooms",
      "room",
      "send",
      "tail",
      "history",
      "request",
      "serve-rpc",
      "blob",
      "file",
      "chat",
      "worker",
    ];
    for (const name of peer) {
      const { code, stdout, stderr } = await unibus(folder, [name, "--help"]);
      expect([name, code, stderr]).toEqual([name, 0, ""]);
      expect(stdout).toStartWith(`Usage: unibus ${name}`);
    }
  },
  patienceMs,
);
