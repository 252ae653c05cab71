/**
 * Computers whose clocks are wrong, on the client's and the server's side. Needs libfaketime, which shifts the clock
 * of one process. Source: docs/protocol/requests.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { ulidTimeMs } from "../../src/wire/ulid.ts";
import { adminLink, invite } from "../support/accounts.ts";
import { CliPeer, jsonLines, Running } from "../support/cli-peer.ts";
import { Folder, Server, unibus, until } from "../support/executable.ts";
import { clockOff } from "../support/faketime.ts";
import { addUser, freshSubject } from "../support/peer.ts";

const patienceMs = 60_000;
const [minute, hour] = [60, 3_600];

let server: Server;
let admin: Identity;
let ana: CliPeer;

beforeAll(async () => {
  server = await Server.start({ args: ["--set", "http.rate=100000"] });
  admin = await addUser(server, "root", { admin: true });
  ana = await CliPeer.join(server, admin, "ana");
}, patienceMs);
afterAll(async () => {
  ana[Symbol.dispose]();
  await server[Symbol.asyncDispose]();
});

/** Runs a command of ana on a computer whose clock is off by some seconds. */
const off = (seconds: number, args: readonly string[], stdin = "") =>
  unibus(ana.folder, args, { env: { ...ana.env, ...clockOff(seconds) }, stdin });

const newRoom = (): Promise<string> => ana.room();

const isNow = (id: string) => Math.abs(ulidTimeMs(id) - Date.now()) < 5 * minute * 1_000;

describe("a computer whose clock is wrong", () => {
  test.each([
    ["2 h ahead", 2 * hour, "2 h behind"],
    ["23 h ahead", 23 * hour, "23 h behind"],
    ["4 min behind", -4 * minute, "4 min ahead of"],
  ])(
    "by %s works: messages and room ids use the server's time, with a warning",
    async (_, seconds, difference) => {
      const subject = freshSubject();
      const made = await off(seconds, ["room", "new", subject, "--json"]);
      expect([made.code, made.stderr]).toEqual([0, expect.stringContaining(`the server's clock is ${difference}`)]);
      expect(made.stderr).toContain("this computer's: using the server's clock for messages");
      expect(isNow(JSON.parse(made.stdout).room_id)).toBe(true);
      const sent = await off(seconds, ["send", subject, "hello"]);
      expect([sent.code, isNow(sent.stdout.trim())]).toEqual([0, true]);
      const lines = await off(seconds, ["send", subject, "--lines"], "a\nb\n");
      expect([lines.code, lines.stderr.split("\n").filter((line) => line.startsWith("error"))]).toEqual([0, []]);
      const shown = jsonLines((await off(seconds, ["history", subject, "--json"])).stdout);
      expect(shown.map(({ text, late, early }) => [text, late, early])).toEqual([
        ["hello", false, false],
        ["a", false, false],
        ["b", false, false],
      ]);
      expect(shown.every(({ id }) => isNow(String(id)))).toBe(true);
    },
    patienceMs,
  );

  test.each([
    ["2 h behind", -2 * hour, "2 h ahead of"],
    ["25 h ahead", 25 * hour, "1 d 1 h behind"],
  ])(
    "by %s is refused, with both times, unless --bus-clock is given",
    async (_, seconds, difference) => {
      const subject = await newRoom();
      const refused = await off(seconds, ["send", subject, "hello"]);
      const both = `error: the server's clock is ${difference} this computer's: server \\S+Z, this computer \\S+Z \\(set this computer's clock`;
      expect([refused.code, refused.stdout, refused.stderr]).toEqual([1, "", expect.stringMatching(new RegExp(both))]);
      const json = await off(seconds, ["send", subject, "hello", "--json"]);
      expect(JSON.parse(json.stderr)).toMatchObject({ code: "clock_skew" });
      const sent = await off(seconds, ["send", subject, "hello", "--bus-clock"]);
      expect([sent.code, isNow(sent.stdout.trim())]).toEqual([0, true]);
      expect(jsonLines(await ana.ok(["history", subject, "--json"]))).toHaveLength(1);
    },
    patienceMs,
  );

  test(
    "marks no message as late or early, nor does a reader with a correct clock",
    async () => {
      const subject = await newRoom();
      await ana.ok(["send", subject, "before"]);
      const watch = (env: Record<string, string>) => {
        const { path } = ana.folder;
        const home = { PATH: process.env.PATH ?? "", HOME: path, XDG_CONFIG_HOME: `${path}/.config`, NO_COLOR: "1" };
        return new Running(ana.folder, ["tail", subject, "--json"], { ...home, ...ana.env, ...env });
      };
      await using right = watch({});
      await using wrong = watch(clockOff(2 * hour));
      for (const one of [right, wrong])
        await until("the tail follows the room", () => one.stderr.includes("following"));
      await off(2 * hour, ["send", subject, "live"]);
      const marks = (lines: readonly string[]) =>
        jsonLines(lines.join("\n")).map(({ text, late, early, clock_unsure }) => [text, late, early, clock_unsure]);
      const isThere = (lines: readonly string[]) => lines.length === 1;
      expect(marks(await right.until("it", isThere))).toEqual([["live", false, false, undefined]]);
      expect(marks(await wrong.until("it", isThere))).toEqual([["live", false, false, true]]);
      const kept = await off(2 * hour, ["history", subject, "--json"]);
      expect(marks(kept.stdout.trim().split("\n"))).toEqual([
        ["before", false, false, undefined],
        ["live", false, false, undefined],
      ]);
    },
    patienceMs,
  );

  test(
    "joins, when the bus's clock may be followed; otherwise the invite is not spent",
    async () => {
      using folder = new Folder();
      const { link } = await invite(server, admin, { handle: "Bea" });
      const join = (seconds: number, ...more: string[]) =>
        unibus(folder, ["join", link, "--json", ...more], { env: clockOff(seconds) });
      const refused = await join(-2 * hour);
      expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('"code":"clock_skew"')]);
      const joined = await join(-2 * hour, "--bus-clock");
      expect([joined.code, JSON.parse(joined.stdout || "{}")]).toEqual([0, expect.objectContaining({ handle: "Bea" })]);
      const { link: second } = await invite(server, admin, { handle: "Cy" });
      const ahead = await unibus(folder, ["join", second, "--identity", "cy.json"], { env: clockOff(2 * hour) });
      expect([ahead.code, ahead.stderr]).toEqual([
        0,
        expect.stringContaining("warning: the server's clock is 2 h behind"),
      ]);
    },
    patienceMs,
  );
});

test(
  "a server whose clock is wrong: its users follow it, within the limits",
  async () => {
    await using wrong = await Server.start({ env: clockOff(-2 * hour) });
    using folder = new Folder();
    const joined = await unibus(folder, ["join", adminLink(wrong)]);
    expect([joined.code, joined.stderr]).toEqual([0, expect.stringContaining("the server's clock is 2 h behind this")]);
    // libfaketime does not affect nats-server, which is not linked with libc: only the control plane has this clock.
    const made = await unibus(folder, ["room", "new", freshSubject(), "--json"]);
    expect([made.code, ulidTimeMs(JSON.parse(made.stdout).room_id) < Date.now() - hour * 1_000]).toEqual([0, true]);
    await using ahead = await Server.start({ env: clockOff(2 * hour) });
    const refused = await unibus(folder, ["join", adminLink(ahead), "--identity", "other.json"]);
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining("2 h ahead of this computer's")]);
  },
  patienceMs,
);
