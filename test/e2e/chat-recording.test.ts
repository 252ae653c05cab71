/**
 * A conversation on two terminals: typing, an edit, a reaction, a file, an outage with `kill -9`, and a recovery. The
 * recording is part of docs/chat.md, which UPDATE_GOLDEN=1 writes. Otherwise it is compared with this run, except for
 * times and what differs from outage to outage.
 */
import { expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CliPeer, jsonLines } from "../support/cli-peer.ts";
import { Folder, Server, until } from "../support/executable.ts";
import { addUser } from "../support/peer.ts";
import { AtTerminal } from "../support/terminal.ts";

const page = join(import.meta.dir, "../../docs/chat.md");
const marks = ["<!-- recording -->\n", "<!-- end of the recording -->"] as const;
const size = { cols: 78, rows: 40 };
const isUpdating = process.env.UPDATE_GOLDEN === "1";

/** What differs between two runs. */
const comparable = (text: string): string[] =>
  text
    .split("\n")
    // The status line is checked by what each picture waits for.
    .filter((row) => !row.startsWith("-- "))
    .map((row) =>
      row
        .replace(/\b\d\d:\d\d:\d\d\b/, "TIME")
        .replace(/connection lost.*/, "connection lost")
        .replace(/reconnected after \d+ s|the connection was lost and is back/, "reconnected"),
    )
    // The rows of a connection's cause, which depends on the moment of its loss.
    .filter((row) => !/^ {14}\S/.test(row))
    .sort();

test("two people talk on two terminals, through an outage", async () => {
  using folder = new Folder();
  const limits = ["--set", "http.rate=100000"];
  let server = await Server.start({ folder, args: limits });
  try {
    const admin = await addUser(server, "root", { admin: true });
    using ana = await CliPeer.join(server, admin, "ana");
    using bob = await CliPeer.join(server, admin, "bob");
    await ana.ok(["room", "new", "room.team", "--mode", "matrix"]);
    await ana.ok(["room", "add", "room.team", "bob"]);
    await bob.ok(["room", "accept", "room.team"]);
    await Bun.write(bob.folder.file("release notes.txt"), "everything is faster\n");
    await using hers = new AtTerminal(ana.folder, ["chat", "room.team"], ana.env, size);
    const recording: string[] = [];
    const picture = async (title: string, chat: AtTerminal, ...rows: readonly RegExp[]): Promise<void> => {
      for (const row of rows) {
        await until(`${title}: ${row}`, () => chat.screen.rows.some((one) => row.test(one))).catch((error: Error) => {
          throw new Error(`${error.message}\n${chat.screen.rows.join("\n")}`);
        });
      }
      const all = chat.screen.rows;
      const from = Math.max(0, all.length - 14);
      recording.push(`${title}\n\n\`\`\`text\n${all.slice(from).join("\n")}\n\`\`\`\n`);
    };
    const sees = async (chat: AtTerminal, row: RegExp): Promise<void> => {
      await picture("", chat, row);
      recording.pop();
    };

    await sees(hers, /^-- connected/);
    await using his = new AtTerminal(bob.folder, ["chat", "room.team"], bob.env, size);
    await sees(his, /^-- connected \| here: ana/);
    await sees(hers, /here: bob/);
    hers.type("Hi Bob, is the relase ready?\r");
    await sees(his, /relase ready\?$/);
    await sees(hers, /read by bob/);
    his.type("Almost: I am writing");
    await picture(
      "Ana has asked something, and Bob is typing. This is Ana's terminal:",
      hers,
      /bob is typing.*read by bob/,
    );

    his.type(" the notes.\r");
    await sees(hers, /writing the notes\.$/);
    hers.type("/edit 1 Hi Bob, is the release ready?\r");
    await sees(his, /1 edited/);
    his.type("/react 1 👍\r");
    await sees(hers, /👍 bob on 1/);
    his.type("/file release notes.txt\r");
    await sees(hers, /\[file "release notes\.txt"/);
    hers.type("/get 3\r");
    await sees(hers, /^> \/get 3 release notes\.txt$/);
    hers.type("\r");
    await sees(hers, /written to/);
    hers.type("/reply 3 Great, thank you!\r");
    const reply = /^ {2}4 .+ana {2}\(to 3, bob \[file "release notes\.txt"\]\) Great, thank you!$/;
    await picture(
      "Ana corrected her question, Bob reacted and sent a file, and Ana saved it:",
      hers,
      reply,
      /read by bob/,
    );
    await picture("The same on Bob's terminal:", his, reply, /here: ana/);
    expect(await Bun.file(ana.folder.file("release notes.txt")).text()).toBe("everything is faster\n");

    await ana.ok(["room", "new", "room.other", "--mode", "matrix"]);
    await using piped = ana.start(["chat", "room.other"]);
    await piped.until("the chat has started", (lines) => lines.length > 0);
    await using leaving = new AtTerminal(ana.folder, ["chat", "room.other"], ana.env, size);
    await sees(leaving, /^-- connected/);

    await server.end("SIGKILL");
    await sees(hers, /\* connection lost/);
    hers.type("Shall we publish it today?\r");
    hers.type("Or tomorrow?\r");
    const away = /^-- reconnecting, attempt \d+ \| 2 waiting to send \| cannot reach/;
    await picture("The server is killed. Ana goes on typing:", hers, /\* waiting to send/, away);

    piped.write("from a pipe\n");
    await sees(leaving, /^-- reconnecting/);
    leaving.type("never sent\r/quit\r");
    await sees(leaving, /\* 1 message is not sent yet: \/quit again to drop it/);
    leaving.type("/quit\r");
    expect(await leaving.exited).toBe(1);
    expect(leaving.said).toMatch(/not sent: never sent\nerror: 1 message was not sent \(.+\)\n$/);

    const address = (url: string): string => new URL(url).host;
    const { http, nats, ws } = server.ready;
    const ports = ["--http", address(http), "--nats", address(nats), "--ws", address(ws)];
    server = await Server.start({ folder, args: [...limits, ...ports] });
    const sent = [
      /\* sent: all 2 that waited/,
      /^ {2}6 .+ana {2}Or tomorrow\?$/,
      /^-- connected.*here: bob.*read by bob/,
    ];
    await picture("The server is back, and so is the conversation. Ana's terminal:", hers, ...sent);
    his.type("Today!\r");
    const last = [/^ {2}7 .+bob {2}Today!$/, /^-- connected.*here: ana.*read by ana/];
    await picture("And Bob's:", his, ...last);
    hers.type("/quit\r");
    his.type("\x04");
    expect([await hers.exited, await his.exited]).toEqual([0, 0]);
    expect([hers.screen.unknown, his.screen.unknown]).toEqual([[], []]);

    expect(await piped.end("eof")).toBe(0);

    const textsIn = async (room: string) => {
      const messages = jsonLines(await ana.ok(["history", room, "--json"]));
      return messages.flatMap(({ kind, text }) => (kind === "text" ? [text] : []));
    };
    const afterwards = ["Great, thank you!", "Shall we publish it today?", "Or tomorrow?", "Today!"];
    expect((await textsIn("room.team")).slice(2)).toEqual(afterwards);
    expect(await textsIn("room.other")).toEqual(["from a pipe"]);
    const [before, rest = ""] = readFileSync(page, "utf8").split(marks[0]);
    const [recorded = "", after] = rest.split(marks[1]);
    const made = `\n${recording.join("\n")}\n`;
    if (isUpdating) writeFileSync(page, `${before}${marks[0]}${made}${marks[1]}${after}`);
    else expect(comparable(made)).toEqual(comparable(recorded));
  } finally {
    await server[Symbol.asyncDispose]();
  }
}, 120_000);
