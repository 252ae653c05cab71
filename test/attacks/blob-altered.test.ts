/**
 * A server that returns other bytes for a blob than its sender stored: the client rejects them.
 * Source: docs/protocol/rooms.md.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { Bus, MemoryState, type Room } from "../../src/client/index.ts";
import { Server } from "../support/executable.ts";
import { HostileServer } from "../support/hostile-server.ts";
import { type Cast, castOf } from "../support/inside.ts";
import { freshSubject } from "../support/peer.ts";

let server: Server;
let people: Cast<"ana" | "bob">;
let way: HostileServer;
let ana: Bus;
let bob: Bus;
let mine: Room;
let theirs: Room;

beforeAll(async () => {
  server = await Server.start({ proxied: true, args: ["--set", "http.rate=100000"] });
  people = await castOf(server, "ana", "bob");
  way = await HostileServer.start(server.ready.http);
  ana = await Bus.connect({ urls: [server.ready.http], identity: people.ana, state: new MemoryState() });
  bob = await Bus.connect({ urls: [way.url], identity: people.bob, state: new MemoryState(), lazy: true });
  mine = await ana.createRoom(freshSubject(), "matrix");
  await mine.membership.add(people.bob.endpoint);
  theirs = await bob.room(mine.id);
});
afterAll(async () => {
  for (const bus of [ana, bob]) await bus.close();
  await way[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

const lies: Readonly<Record<string, (bytes: Buffer, other: Buffer) => Buffer>> = {
  "with one bit flipped": (bytes) => Buffer.from(bytes.map((byte, at) => (at === 0 ? byte ^ 1 : byte))),
  "without its last byte": (bytes) => bytes.subarray(0, -1),
  "with one extra byte": (bytes) => Buffer.concat([bytes, Buffer.from([0])]),
  "that is another one of the same room": (_, other) => other,
  "that is empty": () => Buffer.alloc(0),
};

for (const [what, lie] of Object.entries(lies)) {
  test(`a blob ${what} is refused`, async () => {
    const [meant, other] = [
      await mine.putBlob(Buffer.from("what was meant")),
      await mine.putBlob(Buffer.from("other")),
    ];
    const otherBytes = Buffer.from(await ana.control.getBlob(other.blob.h));
    way.rewrite((answer, { target }) =>
      target === `/blobs/${meant.blob.h}` ? { ...answer, body: lie(answer.body, otherBytes) } : answer,
    );
    await expect(theirs.getBlob(meant)).rejects.toMatchObject({
      code: "invalid",
      message: expect.stringContaining("the server returned the wrong blob"),
    });
    way.honest();
    expect(Buffer.from(await theirs.getBlob(meant)).toString()).toBe("what was meant");
  });
}
