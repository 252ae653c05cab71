/** Requests between members of a room, where a member both asks and answers. Source: docs/protocol/logins.md. */
import { expect, test } from "bun:test";
import { connect } from "../../src/client/index.ts";
import { Server } from "../support/executable.ts";
import { addUser, freshSubject, postUser } from "../support/peer.ts";

test("a peer that answers requests does not answer its own; another member does", async () => {
  await using server = await Server.start();
  const admin = await addUser(server, "root", { admin: true });
  const bobs = await postUser(server, admin, "bob");
  const open = (identity: typeof admin) => connect({ url: server.ready.http, identity, state: "memory" });
  await using ana = await open(admin);
  await using bob = await open(bobs);
  const room = await ana.createRoom(freshSubject(), "matrix");
  await room.respond(({ text }) => `ana answers ${text}`);
  await expect(room.request("alone?", { timeoutMs: 1_000 })).rejects.toMatchObject({ code: "timeout" });

  await room.membership.add(bobs.endpoint);
  const theirs = await bob.room(room.id);
  await theirs.respond(({ text }) => `bob answers ${text}`);
  expect((await room.request("both?")).text).toBe("bob answers both?");
  expect((await theirs.request("both?")).text).toBe("ana answers both?");
}, 60_000);
