/**
 * The help of every command: it ends with an example, which parses to that command, and states the real defaults.
 * docs/reference/cli.md is generated from the same declarations, and must be up to date.
 */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { cliReference, cliReferenceFile } from "../../scripts/cli-reference.ts";
import { CliCommand } from "../../src/cli/cli-command.ts";
import { defaultIdentityFile } from "../../src/cli/peer/identity-file.ts";
import { makeProgram } from "../../src/cli/program.ts";
import { dataDirDefault } from "../../src/cli/server/data-dir.ts";
import { keyLifetimeDefault } from "../../src/client/trust/key-age.ts";
import { wayBackDays } from "../../src/contracts/way-back.ts";
import storeKv from "../../src/plugins/store-kv/index.ts";
import { listenDefaults } from "../../src/wire/address.ts";
import { inviteTtlS } from "../../src/wire/api.ts";

type Program = Awaited<ReturnType<typeof makeProgram>>;

interface Found {
  /** For example `unibus room add`. */
  readonly path: string;
  readonly command: Program;
}

/** Every command below another, groups included. */
const below = ({ path, command }: Found): Found[] =>
  command.commands.flatMap((inner) => {
    const found = { path: `${path} ${inner.name()}`, command: inner };
    return [found, ...below(found)];
  });

const commandsOf = (program: Program): Found[] => below({ path: "unibus", command: program });

/** Splits a command line as a shell does, without a redirection at its end. Handles no escapes. */
function wordsOf(line: string): string[] {
  const words = [...line.matchAll(/"([^"]*)"|'([^']*)'|([^\s"']+)/g)].map(([, a, b, c]) => a ?? b ?? c ?? "");
  const end = words.findIndex((word) => word === ">" || word === "<");
  return end === -1 ? words : words.slice(0, end);
}

/** Parses a command line with the program's own options. Returns the command that would run. */
async function parsed(line: string): Promise<string[]> {
  const ran: string[] = [];
  const program = await makeProgram(undefined, true);
  for (const { path, command } of commandsOf(program)) {
    if (command.commands.length === 0) command.action(() => void ran.push(path));
  }
  const [first, ...words] = wordsOf(line);
  expect(first).toBe("unibus");
  await program.parseAsync(words, { from: "user" });
  return ran;
}

/** The help of a command, without line breaks that depend on the terminal. */
function helpOf(command: Program): string {
  let text = "";
  command.configureOutput({
    writeOut: (more) => {
      text += more;
    },
    getOutHelpWidth: () => 10_000,
  });
  command.outputHelp();
  return text;
}

const all = commandsOf(await makeProgram());

test("backup and restore name the files that docs/backup.md says a backup does not contain", () => {
  const page = readFileSync(join(import.meta.dir, "..", "..", "docs", "backup.md"), "utf8");
  const table = /^\| What \|.*?\n\n/ms.exec(page)?.[0] ?? "";
  const named = new Set([...table.matchAll(/`([a-z]+(?:[/.](?:store|json))?)`/g)].map(([, name = ""]) => name));
  named.delete("decentralized");
  expect([...named].sort()).toEqual(["blobs", "denials", "internal.json", "nats/store", "plugins.json"]);
  for (const path of ["unibus backup", "unibus restore"]) {
    const found = all.find((one) => one.path === path);
    const help = found === undefined ? "" : helpOf(found.command);
    expect([...named].filter((name) => !help.includes(name))).toEqual([]);
  }
});

test("finds every command", () => {
  const paths = all.map(({ path }) => path);
  expect(paths).toContain("unibus room add");
  expect(paths).toContain("unibus help");
  expect(paths.length).toBeGreaterThan(50);
});

describe("the help says what each command does, and ends with an example", () => {
  test.each(all.map(({ path, command }) => [path, command] as const))("%s", (_, command) => {
    expect(command).toBeInstanceOf(CliCommand);
    const { example } = command as CliCommand;
    expect(example).toMatch(/^unibus \S[^\n]*$/);
    expect(command.description()).toMatch(/^[a-z].*[^.]$/);
    expect(command.description()).not.toMatch(/\bmakes?\b/);
    const help = helpOf(command);
    expect(help).toContain(`\n${command.description()}\n`);
    expect(help).toEndWith(`\n\nExample: ${example}\n`);
    expect(help.match(/\bexample: unibus/gi)).toHaveLength(1);
  });
});

describe("each example is parsed by the command that it belongs to", () => {
  test.each(all.map(({ path, command }) => [path, command] as const))("%s", async (path, command) => {
    const [ran, ...others] = await parsed((command as CliCommand).example);
    expect(others).toEqual([]);
    // The example of a group uses one of its commands.
    if (command.commands.length > 0) expect(ran).toStartWith(`${path} `);
    else expect(ran).toBe(path);
  });

  test("a wrong option, argument or value is not parsed", async () => {
    for (const line of [
      "unibus send room.team hello --no-such-option",
      "unibus room add",
      "unibus history a --limit x",
    ])
      expect(await parsed(line).catch((error: Error) => error.name)).toBe("CommanderError");
  });
});

/** Options that take a value and have no default. */
const withoutDefault: Readonly<Record<string, readonly string[]>> = {
  "unibus serve": ["--set"],
  "unibus plan": ["--set"],
  "unibus user add": ["--identity", "--sign-pub", "--kex-pub", "--kex-sig"],
  "unibus admin user add": ["--kex-sig"],
  "unibus restore": ["--denials", "--admin", "--revoke"],
  "unibus migrate-to-kv": ["--ca"],
  "unibus migrate-to-sqlite": ["--ca"],
  "unibus file send": ["--caption", "--reply-to"],
  "unibus send": ["--file", "--attach", "--reply-to"],
};

describe("the help states defaults", () => {
  test("of every option that takes a value, except those without a default", () => {
    const silent = all.flatMap(({ path, command }) =>
      command.options
        .filter((option) => (option.required || option.optional) && !option.mandatory)
        .filter(({ description, defaultValue }) => defaultValue === undefined && !description.includes("(default: "))
        .map(({ long }) => `${path} ${long}`),
    );
    const known = Object.entries(withoutDefault).flatMap(([path, options]) => options.map((one) => `${path} ${one}`));
    expect(silent.sort()).toEqual(known.sort());
  });

  test.each([
    ["unibus serve", "--http", `(default: ${listenDefaults.http}; `],
    ["unibus serve", "--nats", `(default: ${listenDefaults.nats}; `],
    ["unibus serve", "--ws", `(default: ${listenDefaults.ws}; `],
    ["unibus serve", "--data", `(default: "${dataDirDefault}", env: UNIBUS_DATA)`],
    ["unibus invite new", "--ttl", `(default: ${inviteTtlS.default})`],
    ["unibus way-back open", "--days", `(default: ${wayBackDays})`],
    ["unibus migrate-to-kv", "--replicas", `or ${storeKv.config?.properties?.replicas?.default})`],
    ["unibus send", "--url", `or http://${listenDefaults.http})`],
    ["unibus send", "--identity", `or ${defaultIdentityFile({ HOME: "~" })})`],
    ["unibus identity new", "--out", `(default: ${defaultIdentityFile({ HOME: "~" })})`],
  ])("%s %s: %s", (path, option, text) => {
    const { command } = all.find((one) => one.path === path) ?? {};
    const line =
      command &&
      helpOf(command)
        .split("\n")
        .find((one) => one.trim().startsWith(`${option} `));
    expect(line).toContain(text);
  });

  test("and the lifetime of a key is the client's", () => {
    const { command } = all.find(({ path }) => path === "unibus room add") ?? {};
    const { days, messages } = keyLifetimeDefault;
    expect(command && helpOf(command)).toContain(`${days} days or ${messages.toLocaleString("en-US")} messages`);
  });
});

test("docs/reference/cli.md is up to date with the commands", async () => {
  const made = await cliReference();
  for (const { path, command } of all) if (command.commands.length === 0) expect(made).toContain(`\n### ${path}\n`);
  if (made !== readFileSync(cliReferenceFile, "utf8")) {
    throw new Error("docs/reference/cli.md is out of date: run `npm run reference`, and look at what changed");
  }
});
