/**
 * Forged live frames, injected by the server or by an attacker with the same access: relabelled, replayed, altered,
 * non-canonical, signed by strangers or by a kicked member, of past or unknown epochs. The reader drops each frame with
 * a reason, reports it and keeps reading; junk causes a bounded number of reads of the room; evidence of a
 * contradiction is reported once. Source: docs/protocol/frames.md, docs/threat-model.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { generateIdentity, type Identity } from "../../src/client/crypto/identity.ts";
import { bytesOf } from "../../src/wire/encoding.ts";
import { envelopeMagic } from "../../src/wire/envelope.ts";
import { frameBytesMax } from "../../src/wire/frame.ts";
import { newUlid } from "../../src/wire/ulid.ts";
import { type Server, until } from "../support/executable.ts";
import { HostileScene, rewritten } from "../support/hostile-scene.ts";
import { trustingPeer } from "../support/trusting-peer.ts";

let server: Server;
let admin: Identity;
let scene: HostileScene;

beforeAll(async () => {
  ({ server, admin } = await HostileScene.server());
  scene = await HostileScene.open(server, { admin });
});
afterAll(async () => {
  await scene[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

const base64 = (size: number) => Buffer.from(crypto.getRandomValues(new Uint8Array(size))).toString("base64");

/** Expects bob to drop these bytes for this reason, report it and keep reading. */
async function expectDropped(at: HostileScene, bytes: Uint8Array | string, reason: string): Promise<void> {
  const before = at.dropped[reason] ?? 0;
  const reportedBefore = at.suspicious.length;
  at.inject(bytes);
  await until(`it is dropped as ${reason}: ${JSON.stringify(at.dropped)}`, () => (at.dropped[reason] ?? 0) > before);
  expect(at.dropped[reason]).toBe(before + 1);
  const isHarmless = reason === "repeat" || reason === "old_epoch";
  expect(at.suspicious.slice(reportedBefore).map(({ what }) => what as string)).toEqual(isHarmless ? [] : [reason]);
}

/** Expects a new message to reach bob, and nothing else. */
async function expectSound(at: HostileScene): Promise<void> {
  const texts = at.texts.slice();
  const { id } = await at.mine.send("honest");
  await until("bob has received it", () => at.got.some((message) => message.id === id));
  expect(at.texts).toEqual([...texts, "honest"]);
  expect(at.ended).toBeUndefined();
  expect(at.trouble).toEqual([]);
}

const whole = (by: Identity) => scene.frame({ by, text: "said by ana, never sent" });

/** A frame of ana's whose payload begins like an envelope. */
const enveloped = async (rest: readonly number[]) => {
  const payload = Uint8Array.from([...envelopeMagic, ...rest]);
  return scene.frame({ by: scene.ana.identity, roomKey: await scene.key(), payload });
};

const attacks: Readonly<Record<string, readonly [string, () => Promise<Uint8Array | string>]>> = {
  "text that is not JSON": ["not_json", async () => "what is this"],
  "an empty message": ["not_json", async () => ""],
  "JSON that is not a frame": ["not_canonical", async () => "{}"],
  "a frame with a duplicate key": [
    "not_canonical",
    async () => new TextDecoder().decode(await whole(scene.ana.identity)).replace('{"t":0', '{"t":0,"t":0'),
  ],
  "a frame with an extra space": [
    "not_canonical",
    async () => new TextDecoder().decode(await whole(scene.ana.identity)).replace(",", ", "),
  ],
  "more than 1 MiB": ["too_large", async () => "x".repeat(frameBytesMax + 1)],
  "a frame of another room under this subject": [
    "wrong_subject",
    async () => scene.frame({ by: scene.ana.identity, subject: "room.other" }),
  ],
  "a frame of another room, its subject rewritten": [
    "bad_signature",
    async () =>
      rewritten(await scene.frame({ by: scene.ana.identity, subject: "room.other" }), { s: scene.mine.subject }),
  ],
  "a frame signed for another room on this subject": [
    "bad_signature",
    async () => scene.frame({ by: scene.ana.identity, roomId: newUlid() }),
  ],
  "a frame of a non-member, with the room's key": ["not_a_member", async () => scene.frame({ by: scene.eve })],
  "a member's name on a stranger's frame": [
    "bad_signature",
    async () => rewritten(await scene.frame({ by: scene.eve }), { from: scene.cleo.identity.endpoint }),
  ],
  "another member's name on a member's frame": [
    "bad_signature",
    async () => rewritten(await whole(scene.ana.identity), { from: scene.cleo.identity.endpoint }),
  ],
  "a changed payload": ["bad_signature", async () => rewritten(await whole(scene.ana.identity), { p: base64(48) })],
  "a changed nonce": ["bad_signature", async () => rewritten(await whole(scene.ana.identity), { n: base64(24) })],
  "a changed signature": ["bad_signature", async () => rewritten(await whole(scene.ana.identity), { sig: base64(64) })],
  "a changed id": ["bad_signature", async () => rewritten(await whole(scene.ana.identity), { id: newUlid() })],
  "a changed type": ["bad_signature", async () => rewritten(await whole(scene.ana.identity), { t: 4 })],
  "a changed thread": ["bad_signature", async () => rewritten(await whole(scene.ana.identity), { thr: newUlid() })],
  "no signature": ["unsigned", async () => rewritten(await whole(scene.ana.identity), { sig: undefined })],
  "an unencrypted frame of a member": [
    "not_decryptable",
    async () =>
      scene.frame({
        ...{ by: scene.ana.identity, roomKey: null },
        policy: { encrypt: false, persist: true, sign_msgs: true },
      }),
  ],
  "a member's frame under a key made by the server": [
    "not_decryptable",
    async () => scene.frame({ by: scene.ana.identity, roomKey: crypto.getRandomValues(new Uint8Array(32)) }),
  ],
  "a member's frame with an envelope that ends before its header": [
    "bad_envelope",
    async () => enveloped([0x00, 0x05, 0x01]),
  ],
  "a member's frame with a file name that is a path": [
    "bad_envelope",
    async () => enveloped([0x00, 0x0c, 0x03, 0x00, 0x09, ...bytesOf("../passwd"), 0x21]),
  ],
  "a stranger's frame of an unknown epoch": ["not_a_member", async () => scene.frame({ by: scene.eve, epoch: 7 })],
  "a frame of an unknown epoch with an invalid signature": [
    "bad_signature",
    async () => rewritten(await whole(scene.ana.identity), { e: 7 }),
  ],
};

describe("in an encrypted room whose messages are signed", () => {
  for (const [what, [reason, make]] of Object.entries(attacks)) {
    test(`${what} is dropped: ${reason}`, async () => {
      await expectDropped(scene, await make(), reason);
      await expectSound(scene);
    });
  }

  test("an envelope with an unknown critical tag, or of an unknown kind, is shown as unsupported, not hidden", async () => {
    const kinds = [
      [0x00, 0x04, 0xc8, 0x00, 0x01, 0x07],
      [0x00, 0x07, 0x01, 0x00, 0x04, ...bytesOf("poll")],
    ];
    for (const header of kinds) {
      const before = scene.got.length;
      scene.inject(await enveloped([...header, ...bytesOf("from the future")]));
      await until("bob has received it", () => scene.got.length > before);
      expect(scene.got.at(-1)).toMatchObject({ kind: "unsupported", text: "from the future", verified: true });
    }
    await expectSound(scene);
  });

  test("a replayed frame is delivered once", async () => {
    const { id } = await scene.mine.send("once");
    await until("bob has received it", () => scene.got.some((message) => message.id === id));
    const { messages } = await scene.ana.control.history(scene.mine.id, { limit: 1 });
    const bytes = Buffer.from(messages[0] ?? "", "base64");
    for (let i = 0; i < 3; i++) await expectDropped(scene, bytes, "repeat");
    await expectSound(scene);
  });

  test("frames held back for more than 10 minutes are marked late, those dated ahead early", async () => {
    const [by, roomKey] = [scene.cleo.identity, await scene.key()];
    const dated = (text: string, minutes: number) =>
      scene.frame({ by, roomKey, text, id: newUlid(Date.now() + minutes * 60_000) });
    // The order of arrival does not matter.
    const given = { fresh: 0, "held back": -11, "a little late": -9, ahead: 11, "a little ahead": 9, "fresh again": 0 };
    for (const [text, minutes] of Object.entries(given)) {
      scene.inject(await dated(text, minutes));
      await until(`bob has received ${text}`, () => scene.texts.includes(text));
    }
    expect(scene.got.slice(-6).map(({ text, late, early, clockUnsure }) => [text, late, early, clockUnsure])).toEqual([
      ["fresh", false, false, false],
      ["held back", true, false, false],
      ["a little late", false, false, false],
      ["ahead", false, true, false],
      ["a little ahead", false, false, false],
      ["fresh again", false, false, false],
    ]);
  });

  test("a thousand frames of unknown epochs delay an honest one for a single read of the room", async () => {
    const junk = await Promise.all(
      Array.from({ length: 1_000 }, async (_, i) => rewritten(await scene.frame({ by: scene.eve }), { e: 1_000 + i })),
    );
    const before = scene.hostile.http.asked.length;
    const dropped = scene.dropped.not_a_member ?? 0;
    for (const bytes of junk) scene.inject(bytes);
    const began = performance.now();
    await expectSound(scene);
    expect(performance.now() - began).toBeLessThan(10_000);
    expect(scene.dropped.not_a_member).toBe(dropped + 1_000);
    expect(scene.hostile.http.asked.length - before).toBeLessThan(20);
  });
});

describe("junk frames that vary over time, epochs and senders", () => {
  /** How many reads of a room frames of unknown epochs or senders may cause at once; afterwards one per second. */
  const burst = 5;

  test("cause a bounded number of reads of the room", async () => {
    await using at = await HostileScene.open(server, { admin });
    const roomKey = await at.key();
    const strangers = await Promise.all(Array.from({ length: 20 }, () => generateIdentity()));
    // Frames of strangers for the current epoch and for later ones, and frames of members for later epochs, each member
    // once.
    const kinds = [
      (i: number) => at.frame({ by: strangers[i % strangers.length] as Identity, roomKey }),
      (i: number) => at.frame({ by: strangers[i % strangers.length] as Identity, roomKey, epoch: 2 + i }),
      (i: number) => at.frame({ by: i % 2 === 0 ? at.cleo.identity : at.ana.identity, roomKey, epoch: 2 + i }),
    ];
    const reads = () => at.hostile.http.asked.filter((line) => /GET \/rooms\/\w+$/.test(line)).length;
    const [before, began] = [reads(), performance.now()];
    const frames = await Promise.all(Array.from({ length: 180 }, (_, i) => kinds[i % kinds.length]?.(i)));
    for (const bytes of frames) {
      at.inject(bytes as Uint8Array);
      // Injects each frame after the read that the previous one could have caused.
      await Bun.sleep(15);
    }
    await expectSound(at);
    const seconds = (performance.now() - began) / 1_000;
    const made = reads() - before;
    expect(made).toBeGreaterThanOrEqual(burst);
    // Ana owns the room, so her claims are checked once more.
    expect(made).toBeLessThanOrEqual(burst + Math.ceil(seconds) + Math.ceil(seconds / 10));
  });
});

describe("when a member is kicked", () => {
  test("frames they signed for the new epoch are dropped at once, those for the old one after a minute", async () => {
    await using at = await HostileScene.open(server, { admin });
    const oldKey = await at.key();
    const kicked = at.cleo.identity;
    await at.mine.membership.kick(kicked.endpoint);
    await until("bob has the new epoch", () => at.theirs.epoch === 2);
    // This holds even if another member gave the kicked one the new key.
    await expectDropped(at, await at.frame({ by: kicked, epoch: 2 }), "not_a_member");
    await expectDropped(at, await at.frame({ by: kicked, epoch: 2, roomKey: oldKey }), "not_a_member");
    // The frame may have been in flight.
    at.inject(await at.frame({ by: kicked, epoch: 1, roomKey: oldKey, text: "under way" }));
    await until("bob has received it", () => at.texts.includes("under way"));
    // The wall clock does not matter: only elapsed monotonic time does.
    at.clock.wallBy = 61_000;
    at.inject(await at.frame({ by: kicked, epoch: 1, roomKey: oldKey, text: "still under way" }));
    await until("bob has received it", () => at.texts.includes("still under way"));
    at.clock.wallBy = -3_600_000;
    at.clock.steadyBy = 61_000;
    await expectDropped(at, await at.frame({ by: kicked, epoch: 1, roomKey: oldKey, text: "too late" }), "old_epoch");
    at.clock.wallBy = 0;
    await expectSound(at);
  });

  test("a client that opens the room later accepts frames still in flight, and no others", async () => {
    await using at = await HostileScene.open(server, { admin });
    const oldKey = await at.key();
    await at.mine.membership.kick(at.cleo.identity.endpoint);
    await until("bob has the new epoch", () => at.theirs.epoch === 2);
    const old = (text: string) => at.frame({ by: at.ana.identity, epoch: 1, roomKey: oldKey, text });
    at.inject(await old("from one who did not know yet"));
    await until("bob has received it", () => at.texts.length === 1);
    at.clock.steadyBy = 61_000;
    await expectDropped(at, await old("replayed"), "old_epoch");
  });
});

describe("a contradiction that the application's own call detects", () => {
  test("is reported once, and ends every reader", async () => {
    await using at = await HostileScene.open(server, { admin });
    at.hostile.http.alter<{ members: object[] }>("/members", (list) => ({ ...list, members: list.members.slice(1) }));
    await at.mine.membership.rekey();
    await expect(at.theirs.membership.rekey()).rejects.toMatchObject({ code: "room_forked" });
    await until("bob's reading ends", () => at.ended !== undefined);
    expect(at.suspicious).toEqual([
      { roomId: at.mine.id, what: "room_forked", error: expect.objectContaining({ code: "room_forked" }) },
    ]);
    expect(at.trouble).toEqual([]);
  });
});

describe("a member's signature on an epoch that the server does not show", () => {
  const farAhead = 2 ** 31 - 1;

  test("is dropped and reported with its sender: it ends no reading and no sending", async () => {
    await using at = await HostileScene.open(server, { admin });
    const by = at.cleo.identity;
    const roomKey = await at.key();
    for (const epoch of [2, 3, farAhead])
      await expectDropped(at, await at.frame({ by, epoch, roomKey }), "epoch_ahead");
    expect(at.suspicious.every(({ from }) => from === by.endpoint)).toBe(true);
    await expectSound(at);
    await at.theirs.send("still here");
    await until("ana's history has it", async () => (await at.mine.history()).messages.at(-1)?.text === "still here");
  });

  test("causes one read in 10 seconds, however many frames have it", async () => {
    await using at = await HostileScene.open(server, { admin });
    const [by, roomKey] = [at.cleo.identity, await at.key()];
    await expectDropped(at, await at.frame({ by, epoch: 2, roomKey }), "epoch_ahead");
    await expectSound(at);
    const reads = () => at.hostile.http.asked.filter((line) => /GET \/rooms\/\w+$/.test(line)).length;
    const [before, began] = [reads(), performance.now()];
    for (let round = 0; round < 20; round++) {
      for (let i = 0; i < 10; i++) at.inject(await at.frame({ by, roomKey, epoch: 3 + round * 10 + i }));
      await expectSound(at);
    }
    expect(at.dropped).toEqual({ epoch_ahead: 201 });
    expect(reads() - before).toBeLessThanOrEqual(3 * Math.floor((performance.now() - began) / 10_000));
  });

  test("is accepted once the room has that epoch, even after an earlier wrong one of the same member", async () => {
    await using at = await HostileScene.open(server, { admin });
    const by = at.cleo.identity;
    await expectDropped(at, await at.frame({ by, epoch: 2, roomKey: await at.key() }), "epoch_ahead");
    await at.mine.membership.rekey();
    await until("bob has the new epoch", () => at.theirs.epoch === 2);
    at.inject(await at.frame({ by, epoch: 2, text: "now it is so" }));
    await until("bob has received it", () => at.texts.includes("now it is so"));
  });

  test("of an owner stops sending if a second read shows no new epoch, until that owner is demoted", async () => {
    await using at = await HostileScene.open(server, { admin });
    await at.mine.membership.setRole(at.cleo.identity.endpoint, "owner");
    await at.theirs.refresh();
    await expectDropped(at, await at.frame({ by: at.cleo.identity, epoch: 9, roomKey: await at.key() }), "epoch_ahead");
    await at.theirs.send("one word proves nothing");
    await until("it is confirmed", () => at.suspicious.some(({ what }) => what === "room_stale"));
    expect(at.suspicious.at(-1)).toMatchObject({ roomId: at.mine.id, from: at.cleo.identity.endpoint });
    const stale = { code: "room_stale", message: expect.stringContaining("epoch 9") };
    await expect(at.theirs.send("stopped")).rejects.toMatchObject(stale);
    await expect(at.theirs.request("stopped")).rejects.toMatchObject(stale);
    await expect(at.theirs.putBlob(new Uint8Array(1))).rejects.toMatchObject(stale);
    // A program that only sends learns of it from the client state that the reader saved.
    const again = await trustingPeer(at.bob.identity, [at.hostile.url], at.bobState).open(at.mine.id);
    expect(() => again.trust.claims.refuse(again.trust.room)).toThrow("epoch 9");
    // Reading continues, and sending does as well once a person approves it.
    await expectSound(at);
    at.theirs.sendAnyway();
    await at.theirs.send("a person decided");
    await at.mine.membership.setRole(at.cleo.identity.endpoint, "member");
    await again.trust.refresh();
    again.trust.claims.refuse(again.trust.room);
  });

  test("of an owner whose epoch the server shows late is not a contradiction", async () => {
    await using at = await HostileScene.open(server, { admin });
    const endpoint = at.cleo.identity.endpoint;
    await at.mine.membership.setRole(endpoint, "owner");
    await at.theirs.refresh();
    await expectDropped(at, await at.frame({ by: at.cleo.identity, epoch: 2, roomKey: await at.key() }), "epoch_ahead");
    await at.mine.membership.rekey();
    await until("bob has the new epoch", () => at.theirs.epoch === 2);
    const asked = at.hostile.http.asked.length;
    await until("the second read is made", () => at.hostile.http.asked.length > asked);
    await at.theirs.send("nothing is wrong");
    expect(at.suspicious.map(({ what }) => what)).toEqual(["epoch_ahead"]);
  });
});

describe("a member who was added a moment ago", () => {
  test("is received by members who do not know of the addition yet", async () => {
    await using at = await HostileScene.open(server, { admin });
    await at.mine.membership.add(at.eve.endpoint);
    at.inject(await at.frame({ by: at.eve, text: "I am new" }));
    await until("bob has received it", () => at.texts.includes("I am new"));
    expect(at.dropped).toEqual({});
  });
});
