/** The bot of examples/bot.sh, which docs/bots-and-pages.md shows: against a real bus, killed in the middle once. */
import { expect, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { until } from "../support/executable.ts";
import { blocksOf, linesIn } from "../support/pages.ts";
import { Reader } from "../support/reader.ts";

/** Timeouts of the test and of one wait, generous for a busy machine, in milliseconds. */
const patienceMs = 120_000;
const waitMs = 60_000;

const blocks = blocksOf("bots-and-pages.md");
const program = readFileSync(join(import.meta.dir, "..", "..", "examples", "bot.sh"), "utf8");

test("docs/bots-and-pages.md shows examples/bot.sh", () => {
  const shown = blocks.filter(({ kind }) => kind === "bash");
  expect(shown.map(({ text }) => text)).toEqual([program]);
});

test(
  "the bot in a shell answers each new message once, also after it was killed, and skips those that it cannot answer",
  async () => {
    await using reader = new Reader();
    writeFileSync(reader.file("bot.sh"), program);
    const command = [
      "touch asked; until [ -e go ]; do sleep 0.1; done",
      'read -r text; case $text in fail) exit 3;; empty) ;; *) tr a-z A-Z <<< "$text";; esac',
    ];
    writeFileSync(reader.file("upper.sh"), command.join("\n"));
    await reader.start("unibus serve");
    for (const line of [
      "export UNIBUS_IDENTITY=ana.json",
      "unibus identity new",
      "unibus user add ana --identity ana.json --admin",
      "unibus room new room.team",
      'unibus send room.team "upper: before its first run"',
      ...blocks.filter(({ kind }) => kind === "sh shell").flatMap(linesIn),
      'unibus send room.team "upper: first"',
    ]) {
      await reader.run(line);
    }
    // A process group of its own, which is killed as a whole.
    const [typed = ""] = blocks.filter(({ kind }) => kind === "sh shell background").flatMap(linesIn);
    const line = typed.replace("bash bot.sh", "setsid bash bot.sh").replace("tr a-z A-Z", "bash upper.sh");
    const start = `${line} >> log 2>&1 & echo $!`;
    let bot = Number(await reader.run(start));
    try {
      await until("the bot works on the first message", () => existsSync(reader.file("asked")), waitMs);
      process.kill(-bot, "SIGKILL");
      writeFileSync(reader.file("go"), "");
      bot = Number(await reader.run(start));
      await reader.run('unibus send room.team "not for the bot"');
      await reader.run('unibus send room.team --hops 8 "upper: eight"');
      // `-` would stand for stdin if the answer was an argument.
      for (const text of ["fail", "empty", "-"]) await reader.run(`unibus send room.team "upper: ${text}"`);
      await reader.run('unibus send room.team --hops 7 "upper: last"');
      const answers = async () => {
        const lines = (await reader.run("unibus history room.team --json")).trim().split("\n");
        const messages = lines.map((line) => JSON.parse(line) as { text: string; handle: string; hops?: number });
        return messages.filter(({ handle }) => handle === "upper").map(({ text, hops }) => [text, hops]);
      };
      await until("the bot answered", async () => (await answers()).length >= 3, waitMs);
      expect(await answers()).toEqual([
        ["FIRST", 1],
        ["-", 1],
        ["LAST", 8],
      ]);
      const log = readFileSync(reader.file("log"), "utf8");
      expect(log.match(/^not answered: [\w-]{43} [0-9A-Z]{26}: /gm)).toHaveLength(2);
    } finally {
      process.kill(-bot, "SIGKILL");
    }
  },
  patienceMs,
);
