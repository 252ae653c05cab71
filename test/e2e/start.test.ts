/** The pages docs/start.md and docs/by-hand.md: every command and program runs as printed, in order. */
import { expect, test } from "bun:test";
import { readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { until } from "../support/executable.ts";
import { blocksOf, fileNameOf, linesIn } from "../support/pages.ts";
import { Reader } from "../support/reader.ts";

/** Timeout of each guide, generous for a busy machine, in milliseconds. */
const patienceMs = 120_000;

/** The names of the fields that a command prints, such as the addresses of `serve`. */
const fieldsIn = (text: string): string[] => [...text.matchAll(/^(\w+) {2,}\S/gm)].map(([, name = ""]) => name);

const root = join(import.meta.dir, "..", "..");

test(
  "docs/start.md: every command works, from an empty folder",
  async () => {
    await using reader = new Reader();
    const printed = new Map<string, string>();
    for (const block of blocksOf("start.md")) {
      if (block.kind === "text") {
        const [shown, printing] = [fieldsIn(block.text), () => fieldsIn(reader.said("unibus serve"))];
        await until("the server printed its addresses", () => printing().length >= shown.length);
        expect(printing()).toEqual(shown);
        continue;
      }
      expect(["sh", "sh background"]).toContain(block.kind);
      for (const line of linesIn(block)) {
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
      for (const typed of linesIn({ kind, text })) {
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
