/**
 * `PUT /rooms/{id}/restore` charges the rooms and rows that it brings to users of the bus, so that no user fills the
 * store with chains that count against none.
 */
import { expect, test } from "bun:test";
import { generateIdentity } from "../../src/client/crypto/identity.ts";
import { bootInProcess } from "../support/in-process.ts";
import { policy } from "../support/peer.ts";
import { bring, openWayBack, restore, Story, usersOf } from "../support/way-back.ts";

test("a restoration with invented signers is charged to its caller, in rooms and in rows", async () => {
  await using own = await bootInProcess({ settings: { rooms: { per_user: 3, rows_per_owner: 65_536 } } });
  const { ana } = await usersOf(own, "ana");
  await openWayBack(own);
  const madeUp = async () => {
    const invented = await generateIdentity();
    return { invented, story: Story.of(invented, policy()).add(invented, ana).role(invented, ana, "owner") };
  };
  const made = [await madeUp(), await madeUp(), await madeUp()];
  for (const { story } of made) await bring(own, ana, story, 0);
  const { story: fourth } = await madeUp();
  const oneMore = await restore(own, ana, fourth.id, fourth.body(ana, 0));
  expect([oneMore.status, oneMore.text]).toEqual([429, expect.stringContaining("rooms.per_user")]);
  // The invented owner continues the chain; no user would be charged for these statements.
  const statuses: number[] = [];
  for (const { invented, story } of made) {
    const { version } = story;
    for (let n = 0; n < 30; n++) story.rekey(invented);
    const { status } = await restore(own, ana, story.id, story.body(ana, version));
    statuses.push(status);
  }
  expect(statuses).toEqual([200, 200, 429]);
}, 60_000);
