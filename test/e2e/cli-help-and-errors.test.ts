/** Texts of the command line itself: version, help, and errors for programs. */
import { describe, expect, test } from "bun:test";
import manifest from "../../package.json";
import { type Done, Folder, unibus } from "../support/executable.ts";

const run = async (...args: string[]): Promise<Done> => {
  using folder = new Folder();
  return await unibus(folder, args);
};

describe("version and help", () => {
  test.each([["version"], ["--version"], ["-v"]])("%s", async (word) => {
    expect(await run(word)).toEqual({ code: 0, stdout: `${manifest.version}\n`, stderr: "" });
  });

  test("help, of all and of each command, is printed on stdout", async () => {
    const all = await run("--help");
    expect(await run("help")).toEqual(all);
    expect(all.stdout).toContain("Usage: unibus");
    for (const words of [["send"], ["room"], ["room", "add"], ["help"], ["identity", "restore"]]) {
      const help = await run("help", ...words);
      expect(help).toEqual(await run(...words, "--help"));
      expect([help.code, help.stdout]).toEqual([0, expect.stringContaining(`Usage: unibus ${words.join(" ")}`)]);
    }
    expect(await run("help", "nonsense")).toMatchObject({
      ...{
        code: 2,
        stdout: "",
        stderr: expect.stringMatching(/^error: unknown command: nonsense \(see unibus help\)/),
      },
    });
    expect((await run("help", "room", "nonsense")).stderr).toStartWith("error: unknown command: room nonsense (");
  }, 30_000);
});

describe("with --json an error is one object on stderr", () => {
  test.each([
    [1, "not_found", ["whoami"]],
    [1, "not_found", ["send", "room.x", "text"]],
    [1, "not_found", ["invite", "list", "--data", "nowhere"]],
    [1, "not_found", ["user", "revoke", "0".repeat(64), "--data", "nowhere"]],
    [1, "invalid", ["use", "not-a-url"]],
    [1, "invalid", ["join", "hello"]],
    [2, "invalid", ["nonsense"]],
    [2, "invalid", ["whoami", "--nonsense"]],
    [2, "invalid", ["send"]],
    [2, "invalid", ["history", "room.x", "--limit", "x"]],
    [2, "invalid", ["help", "nonsense"]],
  ])("exit %d, %s: %p", async (code, name, args) => {
    const plain = await run(...args);
    const done = await run(...args, "--json");
    expect([done.code, done.stdout, plain.code]).toEqual([code, "", code]);
    const { error, code: named, ...rest } = JSON.parse(done.stderr);
    expect([named, rest, done.stderr.split("\n")]).toEqual([name, {}, [expect.anything(), ""]]);
    const path = /\/tmp\/\S+/g;
    expect(plain.stderr.replace(path, "")).toContain(`error: ${error}`.replace(path, ""));
  });

  test("every command accepts --json; arguments after -- are not options of unibus", async () => {
    const { stdout } = await run("help");
    const names = [...stdout.matchAll(/^ {2}([a-z][a-z-]+) /gm)].map(([, name]) => name ?? "");
    expect(names.length).toBeGreaterThan(25);
    const check = async (words: readonly string[]): Promise<void> => {
      const help = (await run("help", ...words)).stdout;
      const inner = /^Commands:\n((?: {2}.*\n)+)/m.exec(help)?.[1] ?? "";
      const below = [...inner.matchAll(/^ {2}([a-z-]+)/gm)].map(([, one]) => one ?? "").filter((one) => one !== "help");
      for (const one of below) await check([...words, one]);
      if (below.length === 0) expect([words, help]).toEqual([words, expect.stringContaining("--json")]);
    };
    for (const name of names) await check([name]);
    const plain = await run("serve-rpc", "room.x", "--", "nonsense-command", "--json");
    expect(plain.stderr).toStartWith("error: command not found: nonsense-command");
  }, 60_000);
});
