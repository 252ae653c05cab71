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
async function chatting(peer: CliPeer, subject: string, size = { cols: 100, rows: 30 }): Promise<AtTerminal> {
  const chat = new AtTerminal(peer.folder, ["chat", subject], peer.env, size);
  await until("the chat has started", () => chat.said.includes("-- connected"));
  return chat;
}

/** Whether a row of a terminal is like this. */
const has = (chat: AtTerminal, row: RegExp): boolean => chat.screen.rows.some((one) => row.test(one));

/** Waits for a row on a terminal. Fails with all of its rows. */
async function shows(chat: AtTerminal, row: RegExp): Promise<void> {
  await until(String(row), () => has(chat, row)).catch((error: Error) => {
    throw new Error(`${error.message}\n${chat.screen.rows.join("\n")}`);
  });
}

describe("at a terminal", () => {
  test(
    "two people talk, answer, react, edit, delete, pin, give a title, list the members, and leave",
    async () => {
      const subject = await roomOfTwo();
      await ana.ok(["send", subject, "--lines"], Array.from({ length: 25 }, () => "old").join("\n"));
      await using hers = await chatting(ana, subject);
      await using his = await chatting(bob, subject);
      await shows(his, /^ 20 .+ana {2}old$/);
      expect([has(his, /^ {2}1 .+ana {2}old$/), has(his, /^ 21/)]).toEqual([true, false]);

      hers.type("hello bob\r");
      for (const chat of [hers, his]) await shows(chat, /^ 21 .+ana {2}hello bob$/);
      his.type("/reply 21 hello ana\r");
      await shows(hers, /^ 22 .+bob {2}\(to 21, ana "hello bob"\) hello ana$/);
      hers.type("/react 👍\r");
      for (const chat of [hers, his]) await shows(chat, /^ {4}👍 ana on 22$/);
      hers.type("/react 22 👍\r");
      await shows(his, /^ {4}👍 taken back by ana on 22$/);
      hers.type("/edit hello Bob\r");
      await shows(his, /^ {4}21 edited: hello Bob$/);
      his.type("/edit 21 mine\r");
      await shows(his, /message 21 is not yours/);
      his.type("/delete\r");
      for (const chat of [hers, his]) await shows(chat, /^ {4}bob removed 22$/);
      his.type("/delete 22\r");
      await shows(his, /message 22 was removed/);
      hers.type("/title The Team\r");
      await shows(his, /ana gave the room the title "The Team"/);
      hers.type("/pin 21\r");
      for (const chat of [hers, his]) await shows(chat, /^ {4}pinned: 21$/);
      hers.type("/pin 21\r");
      await shows(his, /no longer pinned: 21$/);
      hers.type("/react 10 👀\r");
      await shows(his, /^ {4}👀 ana on 10$/);
      hers.type("/react 999 👀\r");
      await shows(hers, /message 999 is not known here/);
      await shows(his, /^-- connected \| here: ana \|/);
      his.type("/who\r");
      await shows(his, /^ {4}ana {2}owner, here, read up to 22 {2}/);
      await shows(his, /^ {4}bob {2}member, you {2}/);
      his.type("/nonsense\r");
      await shows(his, /unknown command \/nonsense \(see \/help\)/);
      his.type("//quit is a word\r");
      await shows(hers, /bob {2}\/quit is a word$/);
      hers.type("/quit\r");
      his.type("\x03");
      expect([await hers.exited, await his.exited]).toEqual([0, 0]);
      const kinds = jsonLines(await ana.ok(["history", subject, "--json", "--limit", "8"])).map(({ kind }) => kind);
      expect(kinds).toEqual(["unreact", "edit", "delete", "title", "pin", "pin", "react", "text"]);
    },
    patienceMs,
  );

  test(
    "the status line shows who is here and types, what is new, and how far the other has read",
    async () => {
      const subject = await roomOfTwo();
      await using hers = await chatting(ana, subject);
      await shows(hers, /^-- connected \| room\.\S+ --$/);
      await using his = await chatting(bob, subject);
      await shows(hers, /^-- connected \| here: bob \| room/);
      his.type("h");
      await shows(hers, /^-- connected \| bob is typing \| here: bob/);
      his.type("i\r");
      await shows(hers, /^-- connected \| 1 new \| here: bob/);
      await shows(his, /\| read by ana \|/);
      hers.type("/");
      await shows(hers, /^-- connected \| here: bob/);
      his.type("\x04");
      await shows(hers, /^-- connected \| room/);
      expect(await his.exited).toBe(0);
      expect(his.screen.rows.filter((row) => row.startsWith("--"))).toEqual([]);
    },
    patienceMs,
  );

  test(
    "a half-typed line stays while others talk, and no message can add escape sequences",
    async () => {
      const subject = await roomOfTwo();
      await using hers = await chatting(ana, subject, { cols: 40, rows: 12 });
      const half = `half a thought ${"that is long ".repeat(4)}漢字 héé`;
      hers.type(half);
      hers.type("\x1b[D");
      const typed = () => {
        const { rows } = hers.screen;
        const status = rows.findLastIndex((row) => row.startsWith("-- "));
        return rows
          .slice(status + 1)
          .join("")
          .replace(/^> /, "");
      };
      await until("it is shown, in several rows", () => typed() === half);
      await bob.ok(["send", subject, "-"], "\x1b[2Jinterrupting\x1b]0;title\x07\n  9 10:00:00  ana  forged\u202e");
      await shows(hers, /^ +\\x1b\[2Jinterrupting/);
      await until("the input line is below", () => typed() === half);
      expect(hers.screen.rows.some((row) => row.startsWith("  9"))).toBe(false);
      hers.type("e\r");
      await until("the whole line is sent", () =>
        hers.screen.rows
          .join("")
          .replaceAll(/\s/g, "")
          .includes(`ana${half.slice(0, -1)}eé`.replaceAll(/\s/g, "")),
      );
      hers.type("\x04");
      expect(await hers.exited).toBe(0);
      expect([hers.screen.unknown, hers.said.includes("\u202e")]).toEqual([[], false]);
    },
    patienceMs,
  );

  test(
    "a pasted text of several lines is one message, which waits for Enter",
    async () => {
      const subject = await roomOfTwo();
      await using hers = await chatting(ana, subject);
      hers.type("\x1b[200~an error:\r  at line 1\r  at line 2\x1b[201~ (mine)");
      await shows(hers, /^> \[2 pasted lines\] {3}at line 2 \(mine\)$/);
      hers.type("\r");
      await shows(hers, /^ {2}1 .+ana {2}an error:$/);
      await shows(hers, /^ {16}at line 2 \(mine\)$/);
      hers.type("\x1b[200~dropped\r\x1b[201~");
      await shows(hers, /^> \[1 pasted line\]$/);
      hers.type("\x03");
      hers.type("the end\r");
      await shows(hers, /^ {2}2 .+ana {2}the end$/);
    },
    patienceMs,
  );

  test(
    "a file is sent, and saved where its reader says; /edit without a text edits the old one",
    async () => {
      const subject = await roomOfTwo();
      await Bun.write(ana.folder.file("notes to bob.txt"), "the notes");
      await using hers = await chatting(ana, subject);
      await using his = await chatting(bob, subject);
      hers.type("/file 'notes to bob.txt'\r");
      await shows(his, /^ {2}1 .+ana {2}\[file "notes to bob.txt", 9 B: \/get 1\]$/);
      his.type("/get 1\r");
      await shows(his, /^> \/get 1 notes to bob\.txt$/);
      his.type("\r");
      await shows(his, /9 B written to notes to bob\.txt/);
      expect(await Bun.file(bob.folder.file("notes to bob.txt")).text()).toBe("the notes");
      his.type("/get 1 notes to bob.txt\r");
      await shows(his, /notes to bob\.txt exists already/);
      hers.type("/file nothing.txt\r");
      await shows(hers, /not sent: no such file: nothing\.txt/);
      // At once: it means what she has just said, which has not come back yet.
      hers.type("teh end\r/edit\r");
      await shows(hers, /^> \/edit 2 teh end$/);
      hers.type("\x7f".repeat(7));
      hers.type("the end\r");
      await shows(his, /^ {4}2 edited: the end$/);
    },
    patienceMs,
  );

  test(
    "has colours if the terminal supports them, and shows changes of members",
    async () => {
      const subject = await roomOfTwo();
      await using hers = new AtTerminal(ana.folder, ["chat", subject], { ...ana.env, NO_COLOR: "" });
      await until("the chat has started", () => hers.said.includes("type a message"));
      await bob.ok(["send", subject, "colourful"]);
      await until("the name is coloured", () => /\x1b\[3\dm[^\x1b]*bob\x1b\[0m {2}colourful\n/.test(hers.said));
      await ana.ok(["room", "kick", subject, "bob"]);
      await until("the change is shown", () => hers.said.includes("* ana removed bob"));
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
    const typed = "yes\n/react 1 👋\n/edit yes, I am\n/delete\n";
    const { code, stdout, stderr } = await ana.run(["chat", subject], typed);
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout).toMatch(
      /^ {2}1 .+bob {2}are you there\?\n {2}2 .+ana {2}yes\n {4}👋 ana on 1\n {4}2 edited: yes, I am\n {4}ana removed 2\n$/m,
    );
    expect(stdout).not.toContain("\x1b");
  },
  patienceMs,
);
