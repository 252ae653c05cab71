/** What stock NATS clients publish into a room, and how the command line shows it. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { CliPeer, jsonLines, type Running } from "../support/cli-peer.ts";
import { Server, until } from "../support/executable.ts";
import { addUser, dial, freshSubject } from "../support/peer.ts";

const patienceMs = 60_000;

let server: Server;
let admin: Identity;
let ana: CliPeer;
let bob: CliPeer;

beforeAll(async () => {
  server = await Server.start({ args: ["--set", "http.rate=100000"] });
  admin = await addUser(server, "root", { admin: true });
  ana = await CliPeer.join(server, admin, "ana");
  bob = await CliPeer.join(server, admin, "bob");
}, patienceMs);
afterAll(async () => {
  ana[Symbol.dispose]();
  bob[Symbol.dispose]();
  await server[Symbol.asyncDispose]();
});

/** A room of ana and bob that stock clients may write to, with some messages in it. */
async function roomWith(before: readonly (string | Uint8Array)[], ...options: string[]): Promise<string> {
  const subject = freshSubject();
  await ana.ok(["room", "new", subject, ...options]);
  await ana.ok(["room", "add", subject, "bob"]);
  await bob.ok(["send", subject, "hello from unibus"]);
  await publish(subject, before);
  return subject;
}

/** Publishes as bob with a stock client. */
async function publish(subject: string, messages: readonly (string | Uint8Array)[]): Promise<void> {
  const stock = await dial(server, bob.identity);
  for (const message of messages) stock.publish(subject, message);
  await stock.flush();
  await stock.close();
}

const bytes = new Uint8Array([0xff, 0, 1]);
const forged = (subject: string, from: string) =>
  `{"t":0,"s":"${subject}","from":"${from}","id":"01ARZ3NDEKTSV4RRFFQ69G5FAV","e":1,"p":"aGk="}`;

describe("frames from stock clients", () => {
  test(
    "are dropped by history, with a count for each sender, and shown by history --raw",
    async () => {
      const subject = await roomWith(["plain", "\u001b[31mred\nline", '{"temperature":21}', bytes], "--persist");
      await publish(subject, [forged(subject, ana.identity.endpoint), forged(subject, "x".repeat(43))]);
      const { code, stdout, stderr } = await ana.run(["history", subject, "--json"]);
      expect([code, jsonLines(stdout).map(({ text }) => text)]).toEqual([0, ["hello from unibus", "hi"]]);
      const foreign = `of an unknown sender in ${subject} dropped:`;
      expect(stderr.split("\n").filter(Boolean).toSorted()).toEqual(
        [
          `warning: 3 messages ${foreign} not_json, not made by a unibus client (--raw shows them)`,
          `warning: 1 message ${foreign} not_canonical, not made by a unibus client (--raw shows them)`,
          `warning: 1 message naming ${"x".repeat(43)} as sender in ${subject} dropped: not_a_member (the sender or the server is at fault)`,
        ].toSorted(),
      );

      const raw = await ana.run(["history", subject, "--raw"]);
      expect([raw.code, raw.stderr]).toEqual([0, ""]);
      const [frame = "", ...rest] = raw.stdout.trimEnd().split("\n");
      expect(JSON.parse(frame)).toMatchObject({ s: subject, from: bob.identity.endpoint });
      expect(rest.slice(0, 4)).toEqual(["plain", "\\x1b[31mred\\nline", '{"temperature":21}', "[3 B, not text]"]);
      const json = jsonLines(await ana.ok(["history", subject, "--raw", "--json", "--limit", "5"]));
      expect(json.slice(0, 3)).toEqual([
        { text: "\u001b[31mred\nline", frame: false },
        { text: '{"temperature":21}', frame: false },
        { data: "/wAB", frame: false },
      ]);
      expect(json.slice(3).every(({ frame }) => frame === true)).toBe(true);
    },
    patienceMs,
  );

  test(
    "are dropped by tail, with a count, and shown by tail --raw as they arrive",
    async () => {
      const subject = await roomWith([], "--mode", "nats");
      const follow = async (...more: string[]): Promise<Running> => {
        const tail = ana.start(["tail", subject, ...more]);
        await until("tail follows the room", () => tail.stderr.includes(`following ${subject}`));
        return tail;
      };
      await using plain = await follow("--json");
      await using raw = await follow("--raw");
      await publish(subject, ["one", "two", ...Array.from({ length: 10 }, (_, i) => `n${i}`)]);
      await bob.ok(["send", subject, "the end"]);
      await plain.until("the last message is printed", (lines) => lines.length === 1);
      await raw.until("all frames are printed", (lines) => lines.length === 13);
      expect(raw.lines.slice(0, 3)).toEqual(["one", "two", "n0"]);
      expect(JSON.parse(raw.lines[12] ?? "")).toMatchObject({ s: subject, from: bob.identity.endpoint });
      expect([await plain.end(), await raw.end()]).toEqual([0, 0]);
      const warning = (count: string) =>
        `warning: ${count} of an unknown sender in ${subject} dropped: not_json, not made by a unibus client (--raw shows them)`;
      // Warnings come for the first message, after each tenfold increase, and once at the end.
      const warnings = plain.stderr.split("\n").filter((line) => line.startsWith("warning"));
      expect(warnings).toEqual([warning("1 message"), warning("10 messages"), warning("12 messages")]);
    },
    patienceMs,
  );
});
