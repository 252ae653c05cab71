/**
 * A member that fills its room, or the disk that all rooms share, must not stop anyone else.
 * Source: docs/protocol/history.md, docs/protocol/limits.md, docs/threat-model.md.
 */
import { expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import type { NatsConnection } from "nats";
import { Server, until } from "../support/executable.ts";
import { castOf, inside, streamState } from "../support/inside.ts";
import {
  addMembers,
  at,
  call,
  createRoom,
  dial,
  history,
  kick,
  type OwnRoom,
  policy,
  postUser,
} from "../support/peer.ts";

/** JetStream's answer to a publish that it did not store. */
interface PubAck {
  readonly seq?: number;
  readonly error?: { readonly code: number; readonly description: string };
}

const frame = 16_384;

async function publish(connection: NatsConnection, room: OwnRoom, bytes: number = frame): Promise<PubAck> {
  const options = { timeout: 10_000, noMux: true };
  return (await connection.request(room.state.subject, randomBytes(bytes), options)).json<PubAck>();
}

for (const whenFull of ["refuse", "drop_oldest"] as const) {
  test(`a full room that is set to ${whenFull} does so, and other rooms continue`, async () => {
    const bytesMax = 200_000;
    const settings = ["--set", `rooms.bytes_max=${bytesMax}`, "--set", `rooms.when_full=${whenFull}`];
    await using server = await Server.start({ args: settings });
    const { ana, bob } = await castOf(server, "ana", "bob");
    const full = await addMembers(server, await createRoom(server, ana, policy("persist")), bob);
    const other = await addMembers(server, await createRoom(server, ana, policy("persist")), bob);
    expect((await call(server.ready.http, bob, "GET", at(full))).json).toMatchObject({
      bytes_max: bytesMax,
      when_full: whenFull,
      full: false,
    });
    const isFull = async () => (await call(server.ready.http, ana, "GET", at(full))).json.full === true;
    const bus = await inside(server);
    const [writer, reader] = [await dial(server, bob), await dial(server, ana)];
    for (let bytes = 0; bytes <= bytesMax; bytes += frame) expect((await publish(writer, full)).error).toBeUndefined();
    if (whenFull === "refuse") {
      await until("the publisher is refused", async () => (await publish(writer, full)).error !== undefined, 25_000);
      expect((await publish(writer, full)).error?.description).toMatch(/maximum bytes/);
      await until("the room says that it is full", isFull, 25_000);
    } else {
      await until(
        "the oldest messages are dropped",
        async () => {
          expect((await publish(writer, full)).error).toBeUndefined();
          return (await history(server, ana, full, "?limit=1000")).length * frame <= bytesMax;
        },
        25_000,
      );
      expect(await isFull()).toBe(false);
      expect(await streamState(bus, full)).toMatchObject({ last_seq: expect.any(Number) });
    }
    // Live messages still pass, and other rooms still store everything.
    const got: number[] = [];
    reader.subscribe(full.state.subject, { callback: (_, { data }) => void got.push(data.byteLength) });
    await reader.flush();
    await publish(writer, full);
    await until("the frame arrived live", () => got.length === 1);
    expect((await publish(writer, other)).seq).toBe(1);
    expect(await history(server, ana, other)).toHaveLength(1);
    await Promise.all([bus.close(), writer.close(), reader.close()]);
  }, 45_000);
}

test("when the rooms' disk is full, kicks, revocations, logins and rooms without history continue", async () => {
  await using server = await Server.start({ args: ["--set", "nats-embedded.bus_bytes_max=1048576"] });
  const { ana, bob, cleo, admin } = await castOf(server, "ana", "bob", "cleo");
  const room = await addMembers(server, await createRoom(server, ana, policy("encrypt", "persist")), bob, cleo);
  const writer = await dial(server, bob);
  await until("the disk is full", async () => (await publish(writer, room, 65_536)).error !== undefined);
  const kept = await history(server, ana, room, "?limit=1000");
  expect(kept.length).toBeGreaterThan(5);

  const closed = writer.closed();
  await kick(server, room, bob, ana, cleo);
  await closed;
  const live = await dial(server, cleo);
  const cut = live.closed();
  expect((await call(server.ready.http, admin, "POST", `/users/${cleo.signPubHex}/revoke`)).status).toBe(204);
  await cut;
  await expect(dial(server, cleo)).rejects.toThrow();
  const fresh = await postUser(server, admin, "fresh");
  const plain = await addMembers(server, await createRoom(server, ana, policy("encrypt")), fresh);
  const [sender, reader] = [await dial(server, ana), await dial(server, fresh)];
  const got: string[] = [];
  reader.subscribe(plain.state.subject, { callback: (_, message) => void got.push(message.string()) });
  await reader.flush();
  sender.publish(plain.state.subject, "still here");
  await until("the message arrived", () => got.length === 1);
  expect(await history(server, ana, room, "?limit=1000")).toEqual(kept);
  expect((await call(server.ready.http, ana, "DELETE", at(room))).status).toBe(204);
  await Promise.all([sender.close(), reader.close()]);
}, 30_000);
