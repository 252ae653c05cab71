/**
 * `--json` on every command: one that prints something prints it as JSON, and every command reports a wrong command
 * line as one JSON object on stderr. The commands are found in the program, so a new one cannot be forgotten.
 */
import { afterEach, describe, expect, mock, spyOn, test } from "bun:test";
import { makeProgram, run } from "../../src/cli/program.ts";

type Program = Awaited<ReturnType<typeof makeProgram>>;

/** The commands without subcommands, each with its words, such as `["room", "add"]`. */
function leaves(command: Program, words: readonly string[] = []): { words: string[]; command: Program }[] {
  if (command.commands.length === 0) return [{ words: [...words], command }];
  return command.commands.flatMap((inner) => leaves(inner, [...words, inner.name()]));
}

const all = leaves(await makeProgram());

/** Commands that print no data as lines, each with the reason. Their `--json` is for errors alone. */
const withoutData: Readonly<Record<string, string>> = {
  serve: "prints its addresses for a person; ready.json has them, and --log json is its log",
  "serve-rpc": "answers requests, and prints nothing",
  chat: "is for a person at a terminal",
  demo: "shows a story to a person",
  completion: "prints a shell script, or names, one a line",
  vectors: "always prints JSON",
  help: "prints the help",
};

const written = { stdout: "", stderr: "" };
afterEach(() => {
  mock.restore();
});

/** Runs a command line in this process. Returns its exit code and its output. */
async function ran(argv: readonly string[]) {
  Object.assign(written, { stdout: "", stderr: "" });
  for (const name of ["stdout", "stderr"] as const) {
    spyOn(process[name], "write").mockImplementation(((data: unknown, done?: unknown) => {
      written[name] += String(data);
      if (typeof done === "function") done();
      return true;
    }) as typeof process.stdout.write);
  }
  const code = await run(argv);
  return { code, ...written };
}

describe("--json", () => {
  test("is an option of every command, and says so if it is for errors alone", () => {
    const forErrors = all.filter(({ command }) =>
      command.options.some(({ long, description }) => long === "--json" && description === "print errors as JSON"),
    );
    expect(all.length).toBeGreaterThan(60);
    expect(all.filter(({ command }) => !command.options.some(({ long }) => long === "--json"))).toEqual([]);
    expect(forErrors.map(({ words }) => words.join(" ")).sort()).toEqual(Object.keys(withoutData).sort());
  });

  test.each(all.map(({ words }) => [words.join(" "), words] as const))(
    "a wrong command line of %s is one JSON object",
    async (_, words) => {
      const { code, stdout, stderr } = await ran([...words, "--no-such-option", "--json"]);
      expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
      expect(stderr).toMatch(/^[^\n]+\n$/);
      const error = JSON.parse(stderr) as Record<string, unknown>;
      // A command with a mandatory option may name that first.
      expect(error).toEqual({ error: expect.stringMatching(/option .*--/), code: "invalid" });
    },
  );

  test("an error shows the beginning of a value that is long", async () => {
    const long = "x".repeat(100_000);
    for (const words of [
      ["react", "room.team", "0".repeat(26), `${long} ${long}`],
      ["wait", "--timeout", long],
    ]) {
      for (const json of [[], ["--json"]]) {
        const { code, stderr } = await ran([...words, ...json]);
        expect([code, stderr.includes("xxx…"), stderr.length < 500]).toEqual([2, true, true]);
      }
    }
  });
});
