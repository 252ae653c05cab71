/** Mistakes that newcomers make in their first hour, with the executable. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { CliPeer } from "../support/cli-peer.ts";
import { type Done, Server, unibus } from "../support/executable.ts";
import { addUser, freshSubject, postUser } from "../support/peer.ts";
import { AtTerminal } from "../support/terminal.ts";

let server: Server;
let admin: Identity;

beforeAll(async () => {
  server = await Server.start({ args: ["--set", "http.rate=100000"] });
  admin = await addUser(server, "root", { admin: true });
});
afterAll(() => server[Symbol.asyncDispose]());

const onHost = (...args: string[]): Promise<Done> =>
  unibus(server.folder, [...args.slice(0, 2), "--data", server.data, ...args.slice(2)]);
const rowOf = async (signPub: string): Promise<string | undefined> =>
  (await onHost("user", "list")).stdout.split("\n").find((line) => line.endsWith(signPub));

describe("host commands name a user", () => {
  test("by handle, endpoint or key", async () => {
    const [ana, bob, cleo] = [
      await postUser(server, admin, "ana"),
      await postUser(server, admin, "bob"),
      await postUser(server, admin, "cleo"),
    ];
    const renamed = await onHost("user", "rename", "ana", "anna");
    expect(renamed).toMatchObject({ code: 0, stderr: `renamed ana to anna (${ana.signPubHex})\n` });
    expect(await onHost("user", "revoke", "BOB")).toMatchObject({ code: 0 });
    expect(await onHost("user", "delete", "--", cleo.endpoint)).toMatchObject({ code: 0 });
    expect([await rowOf(ana.signPubHex), await rowOf(bob.signPubHex), await rowOf(cleo.signPubHex)]).toEqual([
      `anna\tmember\tactive\t${ana.signPubHex}`,
      `bob\tmember\trevoked\t${bob.signPubHex}`,
      undefined,
    ]);
    expect(await onHost("user", "revoke", bob.signPubHex.toUpperCase())).toMatchObject({ code: 0 });
  });

  test("unambiguously: an unknown or ambiguous name is refused, and no user is changed", async () => {
    const twins = [await postUser(server, admin, "Eve"), await postUser(server, admin, "eve")];
    const refused = await onHost("user", "revoke", "eve");
    expect(refused.code).toBe(1);
    expect(refused.stderr).toStartWith('error: "eve" may mean 2 users (name one by its key: ');
    for (const { signPubHex } of twins) {
      expect(refused.stderr).toContain(signPubHex);
      expect(await rowOf(signPubHex)).toContain("\tactive\t");
    }
    const none = await onHost("user", "delete", "zed");
    expect(none).toMatchObject({
      code: 1,
      stderr: 'error: "zed" is not a user of this bus (see unibus user list)\n',
    });
  });
});

test("lists have aligned columns with headings on a terminal, and tabs elsewhere", async () => {
  using peer = await CliPeer.join(server, admin, "a long handle");
  const subject = freshSubject();
  await peer.ok(["room", "new", subject]);
  const piped = await peer.ok(["rooms"]);
  expect(piped).toMatch(new RegExp(`^\\w{26}\\t${subject}\\towner\\tepoch 1\\tencrypted,persisted,signed\n$`));
  await using shown = new AtTerminal(peer.folder, ["rooms"], peer.env);
  expect(await shown.exited).toBe(0);
  const [names = "", row = "", end] = shown.said.split("\n");
  expect(end).toBe("");
  expect(names.split(/ {2,}/)).toEqual(["ID", "ROOM", "ROLE", "EPOCH", "POLICY"]);
  for (const [name, cell] of [
    ["ROOM", subject],
    ["ROLE", "owner"],
    ["POLICY", "encrypted,persisted,signed"],
  ] as const)
    expect([name, row.indexOf(cell)]).toEqual([name, names.indexOf(name)]);
});

test("membership changes are reported by handle", async () => {
  using ana = await CliPeer.join(server, admin, "anja");
  const ben = await postUser(server, admin, "ben");
  const subject = freshSubject();
  await ana.ok(["room", "new", subject]);
  const person = `ben (${ben.endpoint})`;
  expect((await ana.run(["room", "add", subject, "ben"])).stderr).toStartWith(`added ${person}\n`);
  expect((await ana.run(["room", "role", subject, "ben", "owner"])).stderr).toContain(`${person} is now owner of`);
  expect((await ana.run(["room", "kick", subject, "--", ben.endpoint])).stderr).toContain(`kicked ${person}; `);
});

test("an empty history is reported; texts are printed without their final newline; files show their own size", async () => {
  using ana = await CliPeer.join(server, admin, "anouk");
  const subject = freshSubject();
  await ana.ok(["room", "new", subject]);
  expect(await ana.run(["history", subject])).toMatchObject({
    code: 0,
    stdout: "",
    stderr: `no messages in ${subject} yet\n`,
  });
  await ana.ok(["send", subject], "from a program\n");
  writeFileSync(ana.folder.file("five"), "12345");
  await ana.ok(["send", subject, "a file", "--attach", "five"]);
  expect(await ana.ok(["history", subject])).toMatch(
    / {2}anouk {2}from a program\n.* a file \[file, "five", 5 B: \w{26}\]\n$/,
  );
  expect(await ana.ok(["history", subject, "--limit", "2", "--json"])).toContain('"text":"from a program\\n"');
});
