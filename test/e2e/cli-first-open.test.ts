/**
 * The first open of a room on the command line: links, words, and owners that may be impostors.
 * Source: docs/protocol/rooms.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { fingerprintWords, userFingerprint } from "../../src/client/index.ts";
import { CliPeer } from "../support/cli-peer.ts";
import { Server } from "../support/executable.ts";
import { showForgedRoom } from "../support/forged-room.ts";
import { HostileServer } from "../support/hostile-server.ts";
import { addUser, freshSubject, postUser } from "../support/peer.ts";

let server: Server;
let admin: Identity;

beforeAll(async () => {
  server = await Server.start({ proxied: true, args: ["--set", "http.rate=100000"] });
  admin = await addUser(server, "root", { admin: true });
});
afterAll(() => server[Symbol.asyncDispose]());

const join = (handle: string) => CliPeer.join(server, admin, handle);

/** The output of `room show --json`. */
interface Shown {
  readonly room_id: string;
  readonly trust: string;
  readonly fingerprint: string;
  readonly link: string;
}

const shown = async (peer: CliPeer, room: string): Promise<Shown> =>
  JSON.parse(await peer.ok(["room", "show", room, "--json"])) as Shown;

test("whoami, identity show and room members show the same words for a person", async () => {
  using ana = await join("ana");
  const words = fingerprintWords(userFingerprint(ana.identity.signPubHex));
  expect(await ana.ok(["whoami"])).toMatch(new RegExp(`^fingerprint +${words}$`, "m"));
  expect(JSON.parse(await ana.ok(["identity", "show", "--json"]))).toMatchObject({ fingerprint: words });
  const subject = freshSubject();
  await ana.ok(["room", "new", subject]);
  expect(await ana.ok(["room", "members", subject, "--fingerprints"])).toContain(words);
});

describe("a room", () => {
  test("is verified by the words that its owner reads aloud, and not by others", async () => {
    using ana = await join("ana");
    using bob = await join("bob");
    const subject = freshSubject();
    await ana.ok(["room", "new", subject]);
    await ana.ok(["room", "add", subject, "--", bob.identity.endpoint]);
    const [mine, theirs] = [await shown(ana, subject), await shown(bob, subject)];
    expect([mine.trust, theirs.trust, theirs.fingerprint]).toEqual(["verified", "unverified", mine.fingerprint]);
    const asked = await bob.run(["room", "verify", subject]);
    expect([asked.code, asked.stderr]).toEqual([0, expect.stringContaining(`unibus room verify ${subject} WORDS`)]);
    const wrong = await bob.run(["room", "verify", subject, ..."zoo ".repeat(8).trim().split(" ")]);
    expect([wrong.code, wrong.stderr]).toEqual([1, expect.stringContaining(mine.fingerprint)]);
    expect((await shown(bob, subject)).trust).toBe("unverified");
    expect(await bob.ok(["room", "verify", subject, ...mine.fingerprint.split(" ")])).toMatch(/^trust +verified$/m);
    expect(await bob.ok(["room", "show", subject])).toMatch(/^trust +verified$/m);
  });

  test("can be named by its link in every command, and is verified by it", async () => {
    using ana = await join("ana-l");
    using bob = await join("bob-l");
    const subject = freshSubject();
    await ana.ok(["room", "new", subject]);
    const { link } = await shown(ana, subject);
    await ana.ok(["room", "add", link, "--", bob.identity.endpoint]);
    writeFileSync(bob.folder.file("f"), "a file");
    const ref = (await bob.ok(["blob", "put", `<${link}>`, bob.folder.file("f")])).trim();
    expect((await shown(bob, subject)).trust).toBe("verified");
    expect(await bob.ok(["blob", "get", link, ref, "--out", "-"])).toBe("a file");
    await bob.ok(["send", link, "hello"]);
    expect(await ana.ok(["history", link])).toContain("hello");
    for (const command of [
      ["tail", link],
      ["chat", link],
      ["worker", link],
      ["serve-rpc", link, "--", "cat"],
    ]) {
      await using running = bob.start(command);
      if (command[0] === "worker") await running.until("a tick", (lines) => lines.length > 0);
      else if (command[0] === "chat") await running.until("the chat", (lines) => lines.length > 0);
      else await running.untilNote(command[0] === "tail" ? "following" : "answering");
      if (command[0] === "serve-rpc") expect(await ana.ok(["request", link, "ping"])).toContain("ping");
      await running.end();
    }
    for (const command of ["members", "verify", "rekey"]) await ana.ok(["room", command, link]);
    await ana.ok(["room", "role", link, bob.handle, "owner"]);
    await ana.ok(["room", "kick", link, "--", bob.identity.endpoint]);
    await ana.ok(["room", "delete", link]);
    const gone = await bob.run(["room", "leave", link]);
    expect(gone.code).toBe(1);
  });

  test("that is a forged copy is refused by its link, and, for an owner with a known name, until --approve", async () => {
    await using way = await HostileServer.start(server.ready.http);
    using ana = await join("ana-f");
    using bob = await join("bob-f");
    const forger = await postUser(server, admin, "mallory");
    const subject = freshSubject();
    await ana.ok(["room", "new", subject]);
    await ana.ok(["room", "add", subject, "--", bob.identity.endpoint]);
    const { room_id: roomId, link } = await shown(ana, subject);
    // Bob has used the handle before, so it is pinned for this bus under the address that he uses.
    const own = freshSubject();
    const url = ["--url", way.url];
    await bob.ok(["room", "new", own, ...url]);
    await bob.ok(["room", "add", own, "ana-f", ...url]);
    showForgedRoom(way, { roomId, subject, forger, handle: "\u0430na-f", victim: bob.identity });
    const byLink = await bob.run(["send", link, "a secret", ...url]);
    expect([byLink.code, byLink.stderr]).toEqual([1, expect.stringContaining("fingerprint")]);
    for (const command of [
      ["send", subject, "a secret"],
      ["tail", subject],
      ["history", subject],
    ]) {
      const refused = await bob.run([...command, ...url]);
      expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining(forger.endpoint)]);
      expect(refused.stderr).toContain("--approve");
      expect(refused.stderr.split(forger.endpoint)).toHaveLength(2);
    }
    const looked = await bob.run(["room", "show", subject, ...url]);
    expect([looked.code, looked.stderr]).toEqual([0, expect.stringContaining("warning")]);
    expect(looked.stdout).toMatch(/^trust +unverified$/m);
    const approved = await bob.run(["history", subject, "--approve", ...url]);
    expect([approved.code, approved.stderr]).toEqual([0, expect.stringContaining("approved")]);
    expect((await bob.run(["history", subject, ...url])).code).toBe(0);
  });
});
