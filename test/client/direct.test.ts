/** Direct rooms of a client that has no connection to the data plane yet. On a real bus. */
import { expect, test } from "bun:test";
import { FilesScene } from "../support/files-scene.ts";
import { insertUser } from "../support/in-process.ts";

test("a direct room is known as one before the first connection, and a third person is noticed", async () => {
  await using scene = await FilesScene.start();
  const { ana, bob } = scene;
  const mine = await ana.direct(bob.identity.endpoint);
  expect(mine.direct?.endpoint).toBe(bob.identity.endpoint);
  // What was remembered counts, although nothing was sent.
  const { endpoint: third } = await insertUser(scene.running, "cleo");
  await mine.membership.add(third);
  expect(mine.addedToDirect.map(({ endpoint }) => endpoint)).toEqual([third]);
  await expect(mine.send("for bob only")).rejects.toThrow("is no longer between two");
});
