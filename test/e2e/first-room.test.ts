/** A stock NATS client's frames survive storage and restarts unchanged: the server never rewrites a frame. */
import { expect, test } from "bun:test";
import { Server } from "../support/executable.ts";
import { addUser, createRoom, dial, history, policy } from "../support/peer.ts";

test("frames of a stock NATS client are returned byte for byte, also after SIGTERM and after kill -9", async () => {
  await using first = await Server.start();
  const ana = await addUser(first, "ana");
  const room = await createRoom(first, ana, policy("persist"));
  const sent = ["the very first", "the second", "\u0000\u00ff not text"].map((text) => Buffer.from(text, "latin1"));

  const stock = await dial(first, ana, { stock: true });
  for (const frame of sent) stock.publish(room.state.subject, frame);
  await stock.flush();
  await stock.close();
  expect(await history(first, ana, room)).toEqual(sent);

  expect(await first.end("SIGTERM")).toBe(0);
  await using second = await Server.start({ folder: first.folder });
  expect(await history(second, ana, room)).toEqual(sent);

  await second.end("SIGKILL");
  await using third = await Server.start({ folder: first.folder });
  expect(await history(third, ana, room)).toEqual(sent);
}, 60_000);
