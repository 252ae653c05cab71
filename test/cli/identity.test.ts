/**
 * Identity files and `unibus identity`: who may read a file, that it is never overwritten, its default path, and the
 * subcommands new, show, restore and nkey. The command runs as a process with its own home folder.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { chmod, lstat, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fromSeed } from "nkeys.js";
import { defaultIdentityFile, readIdentityFile, writeIdentityFile } from "../../src/cli/peer/identity-file.ts";
import { fieldLines } from "../../src/cli/print.ts";
import { generateIdentity, identityText, parseIdentity } from "../../src/client/crypto/identity.ts";
import { identityFromWords } from "../../src/client/crypto/wallet.ts";
import { hasCode } from "../../src/wire/errors.ts";
import { fingerprintWords, userFingerprint } from "../../src/wire/fingerprint.ts";
import { vectors } from "../support/vectors.ts";

const root = await mkdtemp(join(tmpdir(), "unibus-identity-"));
afterAll(() => rm(root, { recursive: true, force: true }));

let folders = 0;
/** A path that does not exist yet, in a folder of its own. */
const fresh = (name = "identity.json") => join(root, `case-${folders++}`, name);

const failure = (run: Promise<unknown>): Promise<unknown> =>
  run.then(
    () => null,
    (thrown: unknown) => thrown,
  );

const modeOf = async (file: string) => (await stat(file)).mode & 0o777;

describe("an identity file", () => {
  test("is written for its owner only, in a folder for its owner only, and reads back", async () => {
    const file = fresh("deep/identity.json");
    const identity = await generateIdentity();
    await writeIdentityFile(file, identity);
    expect(await modeOf(file)).toBe(0o600);
    expect(await modeOf(dirname(file))).toBe(0o700);
    expect(await readdir(dirname(file))).toEqual(["identity.json"]);
    expect(identityText(await readIdentityFile(file))).toBe(identityText(identity));
  });

  test("leaves the mode of an existing folder", async () => {
    const file = fresh();
    await mkdir(dirname(file));
    await chmod(dirname(file), 0o755);
    await writeIdentityFile(file, await generateIdentity());
    expect(await modeOf(dirname(file))).toBe(0o755);
  });

  test("is never overwritten, not even an empty or dangling one", async () => {
    const file = fresh();
    await writeIdentityFile(file, await generateIdentity());
    const before = await readFile(file, "utf8");
    const empty = join(dirname(file), "empty.json");
    const dangling = join(dirname(file), "dangling.json");
    await writeFile(empty, "");
    await symlink(join(dirname(file), "nowhere"), dangling);
    for (const taken of [file, empty, dangling]) {
      const error = await failure(writeIdentityFile(taken, await generateIdentity()));
      expect(hasCode(error, "conflict") && error.message).toContain(`${taken} exists (`);
    }
    expect(await readFile(file, "utf8")).toBe(before);
    expect(await readFile(empty, "utf8")).toBe("");
    expect((await lstat(dangling)).isSymbolicLink()).toBe(true);
    expect((await readdir(dirname(file))).sort()).toEqual(["dangling.json", "empty.json", "identity.json"]);
  });

  test("is written by exactly one of many concurrent processes", async () => {
    const file = fresh();
    const identities = await Promise.all(Array.from({ length: 16 }, () => generateIdentity()));
    const outcomes = await Promise.all(identities.map((one) => failure(writeIdentityFile(file, one))));
    expect(outcomes.filter((error) => error === null)).toHaveLength(1);
    expect(outcomes.filter((error) => hasCode(error, "conflict"))).toHaveLength(15);
    const winner = identities[outcomes.indexOf(null)];
    expect(await readFile(file, "utf8")).toBe(winner === undefined ? "" : identityText(winner));
    expect(await readdir(dirname(file))).toEqual(["identity.json"]);
  });

  test("cannot be written below a file", async () => {
    const file = fresh();
    await writeIdentityFile(file, await generateIdentity());
    const error = await failure(writeIdentityFile(join(file, "x.json"), await generateIdentity()));
    expect(hasCode(error, "conflict") || hasCode(error, "invalid")).toBe(true);
  });

  test("that is missing causes an error that says how to create one", async () => {
    const file = fresh();
    const error = await failure(readIdentityFile(file));
    expect(hasCode(error, "not_found") && error.message).toBe(
      `no identity at ${file} (join a bus: unibus join LINK; make one: unibus identity new; or name one: --identity FILE)`,
    );
  });

  test.each([
    ["empty", ""],
    ["cut", '{"sign_pub":"'],
    ["binary", "\u0000\u0001"],
    ["too large", " ".repeat(4_097)],
    ["of the wrong sizes", '{"sign_pub":"AA==","sign_priv":"AA==","kex_pub":"AA==","kex_priv":"AA=="}'],
  ])("that is %s is refused by name, and stays unchanged", async (_, content) => {
    const file = fresh();
    await mkdir(dirname(file));
    await writeFile(file, content);
    const error = await failure(readIdentityFile(file));
    expect(hasCode(error, "invalid") && error.message).toMatch(/identity\.json.*\(.+\)$/);
    expect(await readFile(file, "utf8")).toBe(content);
  });

  test("that is a folder or a pipe is refused", async () => {
    const folder = fresh();
    await mkdir(folder, { recursive: true });
    const pipe = join(folder, "pipe");
    expect(Bun.spawnSync(["mkfifo", pipe]).success).toBe(true);
    for (const file of [folder, pipe]) {
      const error = await failure(readIdentityFile(file));
      expect(hasCode(error, "invalid") && error.message).toContain(file);
    }
  });

  test("is where XDG says, or below the home folder", () => {
    const own = join("unibus", "identity.json");
    expect(defaultIdentityFile({ XDG_CONFIG_HOME: "/cfg", HOME: "/h" })).toBe(join("/cfg", own));
    expect(defaultIdentityFile({ XDG_CONFIG_HOME: "", HOME: "/h" })).toBe(join("/h", ".config", own));
    expect(defaultIdentityFile({ XDG_CONFIG_HOME: "relative", HOME: "/h" })).toBe(join("/h", ".config", own));
    expect(defaultIdentityFile({})).toEndWith(join(".config", own));
  });
});

test("fields are printed below each other", () => {
  expect(fieldLines({ a: "x", long: 2 })).toBe("a     x\nlong  2\n");
  expect(fieldLines({})).toBe("");
});

const module = join(import.meta.dir, "..", "..", "src", "cli", "peer", "identity.ts");
const program = `
  import { identityCommand } from ${JSON.stringify(module)};
  try {
    await identityCommand().parseAsync(JSON.parse(process.env.TEST_ARGS), { from: "user" });
  } catch (error) {
    process.stderr.write(\`error: \${error.message}\\n\`);
    process.exitCode = 1;
  }`;

/** Runs the command in a process with its own home folder. */
async function run(args: string[], options: { stdin?: string; env?: Record<string, string> } = {}) {
  const home = join(root, `home-${folders++}`);
  const child = Bun.spawn([process.execPath, "-e", program], {
    env: { PATH: process.env.PATH, HOME: home, TEST_ARGS: JSON.stringify(args), ...options.env },
    stdin: options.stdin === undefined ? "ignore" : new Blob([options.stdin]),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { stdout, stderr, code, home };
}

describe("the command", () => {
  test("new prints the public half and writes the file", async () => {
    const done = await run(["new"]);
    const file = join(done.home, ".config", "unibus", "identity.json");
    const identity = await readIdentityFile(file);
    expect(done).toMatchObject({ code: 0, stderr: `identity written to ${file}\n` });
    expect(done.stdout).toBe(
      fieldLines({
        endpoint: identity.endpoint,
        sign_pub: identity.signPubHex,
        kex_pub: identity.kexPubHex,
        kex_sig: identity.kexSig,
        nkey: identity.nkey,
        fingerprint: fingerprintWords(userFingerprint(identity.signPubHex)),
      }),
    );
  });

  test("new --json prints the same as JSON, and no private key in either form", async () => {
    const file = fresh();
    const done = await run(["new", "--out", file, "--json"]);
    const identity = await readIdentityFile(file);
    expect(JSON.parse(done.stdout)).toEqual({
      endpoint: identity.endpoint,
      sign_pub: identity.signPubHex,
      kex_pub: identity.kexPubHex,
      kex_sig: identity.kexSig,
      nkey: identity.nkey,
      fingerprint: fingerprintWords(userFingerprint(identity.signPubHex)),
    });
    for (const secret of [identity.signPriv.slice(0, 32), identity.kexPriv]) {
      for (const form of ["hex", "base64"] as const) {
        expect(done.stdout + done.stderr).not.toContain(Buffer.from(secret).toString(form).replace(/=+$/, ""));
      }
    }
  });

  test("new refuses to overwrite", async () => {
    const file = fresh();
    await run(["new", "--out", file]);
    const before = await readFile(file, "utf8");
    const done = await run(["new", "--out", file, "--words"]);
    expect(done).toMatchObject({ code: 1, stdout: "" });
    expect(done.stderr).toContain(`error: ${file} exists (`);
    expect(await readFile(file, "utf8")).toBe(before);
  });

  test("new --words asks the user to keep them, and they restore the identity", async () => {
    const file = fresh();
    const done = await run(["new", "--out", file, "--words"]);
    const lines = done.stdout.trimEnd().split("\n");
    expect(lines.at(-2)).toStartWith("Keep these 12 words");
    const words = lines.at(-1) ?? "";
    expect(identityText(await identityFromWords(words))).toBe(await readFile(file, "utf8"));

    const again = fresh();
    const restored = await run(["restore", "--out", again], { stdin: `${words}\n` });
    expect(restored.code).toBe(0);
    expect(restored.stdout).toBe(`${lines.slice(0, 6).join("\n")}\n`);
    expect(await readFile(again, "utf8")).toBe(await readFile(file, "utf8"));
  });

  test("new --words --json has the words as a field", async () => {
    const done = await run(["new", "--out", fresh(), "--words", "--json"]);
    const printed = JSON.parse(done.stdout) as Record<string, string>;
    expect((await identityFromWords(printed.words ?? "")).endpoint).toBe(printed.endpoint ?? "");
  });

  test("show finds the file by option, by environment, and at its default path", async () => {
    const file = fresh();
    const made = await run(["new", "--out", file]);
    expect(await run(["show", "--identity", file])).toMatchObject({ code: 0, stdout: made.stdout, stderr: "" });
    const env = { UNIBUS_IDENTITY: file };
    expect(await run(["show"], { env })).toMatchObject({ code: 0, stdout: made.stdout });
    const json = await run(["show", "--json"], { env });
    expect(JSON.parse(json.stdout)).toMatchObject({
      endpoint: (await parseIdentity(await readFile(file, "utf8"))).endpoint,
    });
    const none = await run(["show"]);
    expect(none.stderr).toStartWith(`error: no identity at ${join(none.home, ".config", "unibus", "identity.json")} (`);
  });

  test("restore accepts words over several lines, and writes no file for wrong ones", async () => {
    const spread = vectors.wallet.words.replaceAll(" ", "\n");
    const done = await run(["restore", "--json", "--out", fresh()], { stdin: spread });
    expect(JSON.parse(done.stdout)).toMatchObject({ endpoint: vectors.wallet.endpoint_id });
    const file = fresh();
    const wrong = await run(["restore", "--out", file], { stdin: "abandon ".repeat(12) });
    expect(wrong).toMatchObject({ code: 1, stdout: "" });
    expect(wrong.stderr).toStartWith("error: the checksum of the words is wrong");
    expect(await failure(stat(dirname(file)))).not.toBeNull();
  });
});

test("nkey writes a seed file for standard NATS tools, once, and prints the nkey only", async () => {
  const [file, seed] = [fresh(), fresh()];
  await run(["new", "--out", file]);
  const done = await run(["nkey", "--identity", file, "--out", seed]);
  const identity = await readIdentityFile(file);
  expect(done).toMatchObject({ code: 0, stdout: `${identity.nkey}\n` });
  const text = await readFile(seed, "utf8");
  expect(fromSeed(new TextEncoder().encode(text.trim())).getPublicKey()).toBe(identity.nkey);
  expect((await stat(seed)).mode & 0o777).toBe(0o600);
  expect((await run(["nkey", "--identity", file, "--out", seed])).code).toBe(1);
  expect(await readFile(seed, "utf8")).toBe(text);
});
