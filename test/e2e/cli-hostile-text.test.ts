/**
 * Text from other people cannot control a terminal, in any command that shows it. The server rejects such handles
 * today, but a malicious server or an older database may still contain them.
 */
import { Database } from "bun:sqlite";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { CliPeer } from "../support/cli-peer.ts";
import { type Done, Server, unibus, until } from "../support/executable.ts";
import { HostileServer } from "../support/hostile-server.ts";
import { addUser, call } from "../support/peer.ts";
import { AtTerminal } from "../support/terminal.ts";

/** Colors, a C1 sequence, reversed text, hidden characters, and a forged line. */
const evil = "eve\u001b[31m\u009b2J\u202egpj\u2066\u200b\u3164\u00ad\r\nforged\tadmin";
/** The same text as an argument that a user pasted: one line, because usage errors repeat line breaks as given. */
const ownWords = evil.replace("\r\n", "");
const steering = /[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}\p{Default_Ignorable_Code_Point}]/u;

let server: Server;
let admin: Identity;
let ana: CliPeer;
let eve: CliPeer;
let subject: string;
let way: HostileServer;

beforeAll(async () => {
  server = await Server.start({ proxied: true, args: ["--set", "http.rate=100000"] });
  admin = await addUser(server, "root", { admin: true });
  [ana, eve] = [await CliPeer.join(server, admin, "ana"), await CliPeer.join(server, admin, "eve")];
  subject = await ana.room([eve]);
  await eve.ok(["room", "accept", subject]);
  await eve.ok(["send", subject, "-"], `hello ${evil}`);
  await call(server.ready.http, admin, "POST", "/invites", { handle: "invited" });
  const database = new Database(join(server.data, "unibus.db"));
  database.run("UPDATE users SET handle = ? WHERE handle = 'eve'", [evil]);
  database.run("UPDATE stays SET handle = ? WHERE handle = 'eve'", [evil]);
  database.run("UPDATE invites SET handle = ?", [evil]);
  database.close();
  way = await HostileServer.start(server.ready.http);
}, 60_000);
afterAll(async () => {
  ana?.[Symbol.dispose]();
  eve?.[Symbol.dispose]();
  await way?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});

/** Checks that output has no control characters except its own tabs and line ends, and no forged line. */
function isHarmless({ stdout, stderr }: Done): void {
  for (const text of [stdout, stderr]) {
    expect(text.replace(/[\t\n]/g, "")).not.toMatch(steering);
    expect(text).not.toMatch(/^forged\tadmin/m);
  }
}

const host = (...args: string[]): Promise<Done> => unibus(server.folder, [...args, "--data", server.data]);

describe("hostile text on a terminal has its escape sequences removed:", () => {
  const commands: Readonly<Record<string, () => Promise<Done>>> = {
    "user list": () => host("user", "list"),
    "user list --json": () => host("user", "list", "--json"),
    "invite list": () => host("invite", "list"),
    "invite list --json": () => host("invite", "list", "--json"),
    doctor: () => host("doctor"),
    "doctor --json": () => host("doctor", "--json"),
    plan: () => host("plan"),
    "plan --json": () => host("plan", "--json"),
    whoami: () => eve.run(["whoami"]),
    "whoami --json": () => eve.run(["whoami", "--json"]),
    directory: () => ana.run(["directory"]),
    "directory --json": () => ana.run(["directory", "--json"]),
    rooms: () => ana.run(["rooms"]),
    "room show": () => ana.run(["room", "show", subject]),
    "room members": () => ana.run(["room", "members", subject]),
    "room members --json": () => ana.run(["room", "members", subject, "--json"]),
    history: () => ana.run(["history", subject]),
    "history --json": () => ana.run(["history", subject, "--json"]),
    chat: () => ana.run(["chat", subject], "/who\n/quit\n"),
    "room kick with an unknown name": () => ana.run(["room", "kick", subject, `${evil}!`]),
    "room add with an unknown name": () => ana.run(["room", "add", subject, `x${evil}`]),
    "a mistake on the command line": () => ana.run(["room", ownWords]),
    "user add": () => host("user", "add", ownWords, "--sign-pub", admin.signPubHex),
  };
  test.each(Object.entries(commands))("%s", async (_, run) => {
    const done = await run();
    expect(done.stdout + done.stderr).not.toBe("");
    isHarmless(done);
  });

  test("chat at a terminal: names, texts, edits, reactions, captions, the status line, and notes", async () => {
    const [wide, small] = [
      { cols: 200, rows: 60 },
      { cols: 40, rows: 12 },
    ];
    await using hers = new AtTerminal(ana.folder, ["chat", subject], ana.env, wide);
    await using narrow = new AtTerminal(ana.folder, ["chat", subject], ana.env, small);
    await using theirs = new AtTerminal(eve.folder, ["chat", subject], eve.env, wide);
    const all = [hers, narrow, theirs];
    const shown = async (text: string): Promise<void> => {
      for (const one of all) await until(text, () => one.said.includes(text));
    };
    await shown("-- connected");
    await until("the name is in the status line", () => /-- connected.*here: eve/.test(hers.said));
    await eve.ok(["send", subject, "-"], `later ${evil}\n${"x".repeat(100_000)}`);
    await shown("later");
    theirs.type("/react 2 \u3164\u200bemoji\r");
    await shown("emoji");
    theirs.type("/edit 2 edited\u202e\u200b\r");
    await shown("2 edited: ");
    const named = ["--name", "..\u200b$(evil)", "--caption", `caption ${ownWords}`];
    await eve.ok(["file", "send", subject, eve.folder.file(".config/unibus/identity.json"), ...named]);
    await shown("caption");
    // The name is only suggested, and without what hides.
    hers.type("/get 3\r");
    await until("a name is suggested", () => hers.said.includes("> /get 3 _$(evil)"));
    hers.type("\x03");
    hers.type("/who\r");
    await until("the members are shown", () => hers.said.includes("owner, you"));
    hers.type(`/${ownWords.replace(/[\p{Cc}]/gu, "")}\r`);
    await until("the command is unknown", () => hers.said.includes("unknown command"));
    for (const { said, screen } of all) {
      expect(screen.unknown).toEqual([]);
      expect(said.replaceAll(/\x1b\[(?:\d*[ACJK]|\?2004[hl])|[\r\n]/g, "")).not.toMatch(steering);
      expect(said.length).toBeLessThan(100_000);
      expect(screen.rows.filter((row) => row.startsWith("forged"))).toEqual([]);
    }
  }, 60_000);

  test("rooms with a subject forged by the server, and its errors", async () => {
    way.rewrite((answer, { target }) => {
      if (!target.includes("/members/")) return answer;
      const altered = answer.body.toString().replaceAll(subject, JSON.stringify(evil).slice(1, -1));
      return { ...answer, body: Buffer.from(altered), headers: { "content-type": "application/json" } };
    });
    for (const json of [[], ["--json"]]) {
      const listed = await ana.run(["rooms", ...json, "--url", way.url]);
      expect([listed.code, listed.stdout.includes("forged")]).toEqual([0, true]);
      isHarmless(listed);
    }
    way.rewrite((answer) => ({
      ...answer,
      status: 403,
      body: Buffer.from(JSON.stringify({ error: evil, code: "forbidden" })),
      headers: { "content-type": "application/json" },
    }));
    const refused = await ana.run(["rooms", "--url", way.url]);
    expect([refused.code, refused.stderr.includes("forged")]).toEqual([1, true]);
    isHarmless(refused);
    way.honest();
  });

  test("JSON returns the text of others unchanged", async () => {
    const { users } = JSON.parse((await host("user", "list", "--json")).stdout) as { users: { handle: string }[] };
    expect(users.map(({ handle }) => handle)).toContain(evil);
    const { invites } = JSON.parse((await host("invite", "list", "--json")).stdout) as {
      invites: { handle: string }[];
    };
    expect(invites[0]?.handle).toBe(evil);
  });
});
