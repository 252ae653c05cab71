/** The default maximum age of a room key: 30 days or 100,000 messages. Source: docs/protocol/rooms.md. */
import { expect, test } from "bun:test";
import { generateIdentity } from "../../src/client/crypto/identity.ts";
import { ControlPlane } from "../../src/client/transport/control.ts";
import { KeyAge, keyLifetimeDefault } from "../../src/client/trust/key-age.ts";
import { MemoryState } from "../../src/client/trust/state.ts";

const dayMs = 86_400_000;
const roomId = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

/** The age of a key first seen `days` ago, in a room without persistence, so no server is asked. */
async function ageOf(kept: { readonly days: number; readonly messages: number }): Promise<KeyAge> {
  const state = new MemoryState();
  const sinceMs = Date.now() - kept.days * dayMs;
  await state.saveNote(roomId, "key", { epoch: 1, sinceMs, sinceSeq: 0, messages: kept.messages });
  const control = new ControlPlane({ urls: ["http://127.0.0.1:1"], identity: await generateIdentity() });
  const { signal } = new AbortController();
  const age = new KeyAge({ ...{ roomId, persist: false, control, state }, lifetime: keyLifetimeDefault, signal });
  await age.look(1);
  return age;
}

test("a key expires after 100,000 messages, and not one message earlier", async () => {
  const age = await ageOf({ days: 0, messages: 99_999 });
  expect(age.isOver(1)).toBe(false);
  age.count();
  expect(age.isOver(1)).toBe(true);
});

test("a key expires after 30 days, and not after 29", async () => {
  expect((await ageOf({ days: 29, messages: 0 })).isOver(1)).toBe(false);
  expect((await ageOf({ days: 30, messages: 0 })).isOver(1)).toBe(true);
});

test("the age of an epoch other than the one that was looked up is unknown", async () => {
  expect((await ageOf({ days: 99, messages: 0 })).isOver(2)).toBe(false);
});
