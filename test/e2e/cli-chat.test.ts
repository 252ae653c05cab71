/**
 * `unibus chat` at a pseudo-terminal and through pipes: a conversation of two people, the input line, colours and
 * exits.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { CliPeer, jsonLines } from "../support/cli-peer.ts";
import { Server, until } from "../support/executable.ts";
import { addUser } from "../support/peer.ts";
import { AtTerminal } from "../support/terminal.ts";

/** Timeout of each test, generous for a busy machine, in milliseconds. */
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

const roomOfTwo = (): Promise<string> => ana.room([bob]);

/** Starts a chat at a terminal and waits until it is ready. */
async function chatting(peer: CliPeer, subject: string): Promise<AtTerminal> {
  const chat = new AtTerminal(peer.folder, ["chat", subject], peer.env);
  await until("the chat has started", () => chat.said.includes("members; type a message"));
  return chat;
}

describe("at a terminal", () => {
  test(
    "two people talk, answer and react, list the members, and leave",
    async () => {
      const subject = await roomOfTwo();
      await ana.ok(["send", subject, "--lines"], Array.from({ length: 25 }, (_, i) => `old ${i}`).join("\n"));
      await using hers = await chatting(ana, subject);
      await using his = await chatting(bob, subject);
      await until("the last messages are shown", () => his.said.includes("20 ") && his.said.includes("ana  old 24"));
      expect(his.said).not.toContain("old 4\n");
      expect(his.said).toContain("old 5\n");

      hers.type("hello bob\r");
      await until("bob receives it", () => / 21 .+ana {2}hello bob\n/.test(his.said));
      await until("ana sees it, too", () => / 21 .+ana {2}hello bob\n/.test(hers.said));
      his.type("/reply 21 hello ana\r");
      await until("ana receives his message", () => hers.said.includes('bob  (to ana "hello bob") hello ana\n'));
      hers.type("/react 👍\r");
      await until("bob sees her reaction", () => his.said.includes('ana  👍 to bob "hello ana"\n'));
      his.type("/who\r");
      await until("bob sees the members", () => his.said.includes(`ana  owner  ${ana.identity.endpoint}\n`));
      his.type("/nonsense\r");
      await until("bob sees how to use the command", () =>
        his.said.includes("unknown command /nonsense (see /help)\n"),
      );
      his.type("//quit is a word\r");
      await until("a line that begins with a slash is sent", () => hers.said.includes("bob  /quit is a word\n"));
      hers.type("/quit\r");
      his.type("\x03");
      expect([await hers.exited, await his.exited]).toEqual([0, 0]);
      const kinds = jsonLines(await ana.ok(["history", subject, "--json", "--limit", "4"])).map(({ kind }) => kind);
      expect(kinds).toEqual(["text", "text", "react", "text"]);
    },
    patienceMs,
  );

  test(
    "a half-typed line stays while others talk, and no message can add escape sequences",
    async () => {
      const subject = await roomOfTwo();
      await using hers = await chatting(ana, subject);
      hers.type("half a th");
      await until("the input is echoed", () => hers.said.endsWith("half a th"));
      await bob.ok(["send", subject, "\x1b[2Jinterrupting"]);
      await until("the input line is redrawn below", () =>
        /\\x1b\[2Jinterrupting\n[^\n]*half a th(\x1b\[\d+G)?$/.test(hers.said),
      );
      hers.type("ought\r");
      await until("the whole line is sent", () => hers.said.includes("ana  half a thought\n"));
      hers.type("\x04");
      expect(await hers.exited).toBe(0);
    },
    patienceMs,
  );

  test(
    "has colours if the terminal supports them, and shows changes of members",
    async () => {
      const subject = await roomOfTwo();
      await using hers = new AtTerminal(ana.folder, ["chat", subject], { ...ana.env, NO_COLOR: "" });
      await until("the chat has started", () => hers.said.includes("members; type a message"));
      await bob.ok(["send", subject, "colourful"]);
      await until("the name is coloured", () => /\x1b\[3\dm[^\x1b]*bob\x1b\[0m {2}colourful\n/.test(hers.said));
      await ana.ok(["room", "kick", subject, "bob"]);
      await until("the change is shown", () => hers.said.includes("* bob is no longer a member"));
      hers.type("/quit\r");
      expect(await hers.exited).toBe(0);
    },
    patienceMs,
  );

  test(
    "a user who is removed gets a message and the terminal back, and exit code 1",
    async () => {
      const subject = await roomOfTwo();
      await using his = await chatting(bob, subject);
      await ana.ok(["room", "kick", subject, "bob"]);
      expect(await his.exited).toBe(1);
      expect(his.said).toMatch(/error: .+ \(.+\)\n$/);
    },
    patienceMs,
  );
});

test(
  "through pipes: lines in, lines out, and it ends with stdin",
  async () => {
    const subject = await roomOfTwo();
    await bob.ok(["send", subject, "are you there?"]);
    const { code, stdout, stderr } = await ana.run(["chat", subject], "yes\n/react 1 👋\n");
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout).toMatch(
      /^ {2}1 .+bob {2}are you there\?\n {2}2 .+ana {2}yes\n {4}.+ana {2}👋 to bob "are you there\?"\n$/m,
    );
  },
  patienceMs,
);
