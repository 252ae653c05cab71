/** Signals of a room: what a peer sends and when, and what it believes. Source: docs/protocol/signals.md. */
import { expect, test } from "bun:test";
import { signalSubject } from "../../src/wire/names.ts";
import { newUlid } from "../../src/wire/ulid.ts";
import {
  busMs,
  everyone,
  keyOf,
  made,
  opened,
  type Posed,
  peer,
  roomOf,
  settled,
  watching,
} from "../support/signals.ts";

test("typing is sent at the start and every 5 s while a person types, and is over after 8 s", async () => {
  const [ana, bob] = [watching(), peer("bob")];
  bob.presence.typing();
  bob.presence.typing();
  await settled();
  expect(bob.sent).toHaveLength(1);
  await ana.take(bob.sent[0]);
  expect(ana.of("bob").isTyping).toBe(true);
  await ana.wait(7_999);
  expect(ana.of("bob").isTyping).toBe(true);
  await ana.wait(1);
  expect([ana.of("bob").isTyping, ana.changes]).toEqual([false, ["bob typing", "bob gone"]]);
  await bob.wait(4_999);
  bob.presence.typing();
  await bob.wait(1);
  bob.presence.typing();
  bob.presence.typing(false);
  bob.presence.typing(false);
  expect(await bob.kinds()).toEqual(["typing", "typing", "stopped"]);
});

test("presence is sent every 60 s while a person has the room open, and is over after 150 s", async () => {
  const [ana, bob] = [watching(), peer("bob")];
  const close = bob.presence.open();
  const again = bob.presence.open();
  await settled();
  for (const one of bob.sent) await ana.take(one);
  expect([await bob.kinds(), ana.of("bob").state]).toEqual([["bye", "present"], "present"]);
  let count = 0;
  for (let second = 0; second < 3_600; second++) {
    await bob.wait(1_000);
    count += (await bob.kinds()).length;
  }
  expect(count).toBeGreaterThan(49);
  expect(count).toBeLessThan(76);
  bob.presence.setIdle(true);
  close();
  close();
  expect(await bob.kinds()).toEqual(["idle"]);
  again();
  expect(await bob.kinds()).toEqual(["bye"]);
  await bob.wait(100_000);
  expect(await bob.kinds()).toEqual([]);
  await ana.wait(149_999);
  expect(ana.of("bob").state).toBe("present");
  await ana.wait(1);
  expect(ana.of("bob").state).toBeNull();
});

test("a member who comes learns within 2 s who is here, and coming and going causes one signal in 10 s", async () => {
  const bob = peer("bob");
  const close = bob.presence.open();
  expect(await bob.kinds()).toEqual(["bye", "present"]);
  const comes = (kind: "present" | "bye") =>
    bob.take(made({ as: "ana", kind, timeMs: busMs + Math.floor(bob.clock.nowMs) }));
  await comes("present");
  await bob.wait(2_000);
  expect(await bob.kinds()).toEqual(["present"]);
  for (let n = 0; n < 7; n++) {
    await comes("bye");
    await bob.wait(1);
    await comes("present");
    await bob.wait(999);
  }
  expect(await bob.kinds()).toEqual([]);
  await bob.wait(5_000);
  expect(await bob.kinds()).toEqual(["present"]);
  close();
  expect(await bob.kinds()).toEqual(["bye"]);
  await bob.wait(20_000);
  await comes("bye");
  await bob.wait(1);
  await comes("present");
  await bob.wait(2_000);
  expect(await bob.kinds()).toEqual([]);
});

test("another device of a member who is here already learns within 2 s who is here, too", async () => {
  const bob = peer("bob");
  bob.presence.open();
  await bob.kinds();
  for (const device of [peer("ana"), peer("ana")]) {
    device.clock.nowMs = bob.clock.nowMs;
    device.presence.open();
    await settled();
    for (const one of device.sent) await bob.take(one);
    await bob.wait(2_000);
    expect(await bob.kinds()).toEqual(["present"]);
    await bob.wait(10_000);
  }
});

test("a person who opens a room is announced once the answers of others can be received", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const bob = peer("bob", { follow: () => promise });
  bob.presence.open();
  expect(await bob.kinds()).toEqual([]);
  resolve();
  expect(await bob.kinds()).toEqual(["bye", "present"]);
});

test("a room that is opened and closed again and again sends 10 signals a second, and its last state", async () => {
  for (const isOpen of [true, false]) {
    const bob = peer("bob");
    for (let n = 0; n < 20; n++) bob.presence.open()();
    const close = bob.presence.open();
    if (!isOpen) close();
    expect(await bob.kinds()).toHaveLength(10);
    await bob.wait(999);
    expect(await bob.kinds()).toEqual([]);
    await bob.wait(1);
    expect(await bob.kinds()).toEqual([isOpen ? "present" : "bye"]);
    await bob.wait(10_000);
    expect(await bob.kinds()).toEqual([]);
  }
});

test("read marks are sent in rooms of two, where a setting says so in all, and only forwards", async () => {
  const ids = [1, 2, 3].map((n) => newUlid(busMs + n)) as [string, string, string];
  const two = peer("bob");
  two.presence.read({ id: ids[1] });
  two.presence.read({ id: ids[0] });
  await two.wait(0);
  two.presence.read({ id: ids[2] });
  await two.wait(999);
  const [first] = two.sent;
  expect(two.sent).toHaveLength(1);
  await two.wait(1);
  expect(two.sent.map((one) => opened(one)?.messageId)).toEqual([ids[1], ids[2]]);
  const ana = watching();
  await ana.take(two.sent[1]);
  await ana.take(first);
  expect(ana.of("bob").readUpTo).toBe(ids[2]);
  for (const [readMarks, wanted] of [
    [undefined, 0],
    [true, 1],
    [false, 0],
  ] as const) {
    const three = peer("bob", { names: ["ana", "bob", "cleo"], ...(readMarks === undefined ? {} : { readMarks }) });
    three.presence.read({ id: ids[0] });
    await three.wait(0);
    expect(three.sent).toHaveLength(wanted);
  }
});

test("a posed signal is dropped", async () => {
  const ana = watching({ names: ["ana", "bob", "mallory"], epoch: 2 });
  const posed: Posed[] = [
    // Of mallory, on bob's subject.
    { as: "mallory", on: "bob", epoch: 2 },
    { as: "stranger", epoch: 2 },
    { as: "bob", epoch: 2, roomId: "01HZZZ00000000000000000002" },
    { as: "bob", epoch: 2, key: keyOf(1) },
    { as: "bob", epoch: 3 },
  ];
  for (const one of posed) await ana.take(made(one));
  expect(ana.changes).toEqual([]);
  await ana.take(made({ as: "bob", epoch: 2 }));
  expect(ana.changes).toEqual(["bob typing"]);
});

test("a signal of an older epoch is opened for 60 s only, and of a former member never", async () => {
  const ana = watching({ names: ["ana", "bob"], epoch: 2 });
  ana.room.newerSinceMs = 0;
  await ana.take(made({ as: "bob", epoch: 1, kind: "present" }));
  expect(ana.of("bob").state).toBe("present");
  await ana.wait(60_001);
  await ana.take(made({ as: "bob", epoch: 1, kind: "bye", timeMs: busMs + 60_001 }));
  expect(ana.of("bob").state).toBe("present");
  // Bob was removed just now: what he sealed before is too late, and so is what he seals from now on.
  ana.room.value = roomOf(ana.roomId, ["ana"], 3, everyone, ["bob"]);
  ana.room.newerSinceMs = 60_001;
  ana.changed();
  for (const epoch of [2, 3]) await ana.take(made({ as: "bob", epoch, timeMs: busMs + 60_001 }));
  expect([ana.of("bob").state, ana.changes]).toEqual([null, ["bob present", "bob gone"]]);
});

test("a replayed signal is dropped", async () => {
  const ana = watching();
  const typing = made({ as: "bob" });
  await ana.take(typing);
  await ana.wait(8_000);
  const changes = [...ana.changes];
  // Twice within the time in which it would be accepted, and once later.
  for (const ms of [0, 50_000, 100_000]) {
    await ana.wait(ms);
    await ana.take(typing);
  }
  expect(ana.changes).toEqual(changes);
  // A repeat of an earlier state does not undo a later one, even if it was held back and never seen.
  const [present, bye] = [
    made({ as: "bob", kind: "present", timeMs: busMs + 158_000 }),
    made({ as: "bob", kind: "bye", timeMs: busMs + 158_000 }),
  ];
  await ana.take(bye);
  await ana.take(present);
  expect(ana.of("bob").state).toBeNull();
});

test("a replayed signal is dropped also when this peer has forgotten the member", async () => {
  const ana = watching();
  const forget = () => {
    ana.signals.isOn = false;
    ana.signals.isOn = true;
    ana.changes.length = 0;
  };
  await ana.take(made({ as: "bob", kind: "present" }));
  await ana.wait(100_000);
  // Its sender's clock is a minute ahead, so it is accepted for two minutes.
  const typing = made({ as: "bob", timeMs: busMs + 160_000 });
  await ana.take(typing);
  for (const ms of [0, 50_000, 60_000]) {
    await ana.wait(ms);
    await ana.take(made({ as: "bob", kind: "present", timeMs: busMs + ana.clock.nowMs }));
    forget();
    await ana.take(typing);
    expect({ ms, changes: ana.changes }).toEqual({ ms, changes: [] });
  }
});

test("a signal whose time is more than 60 s off is dropped", async () => {
  for (const [offMs, isTaken] of [
    [60_000, true],
    [60_001, false],
    [-60_000, true],
    [-60_001, false],
  ] as const) {
    const ana = watching();
    await ana.take(made({ as: "bob", timeMs: busMs + offMs }));
    expect({ offMs, isTyping: ana.of("bob").isTyping }).toEqual({ offMs, isTyping: isTaken });
  }
});

test("at most 20 signals a second of one sender are opened, and 200 of a room", async () => {
  const names = ["ana", ...Array.from({ length: 15 }, (_, n) => `m${n}`)];
  const ana = watching({ names });
  const read = (as: string, n: number) => ana.take(made({ as, kind: "read", messageId: newUlid(busMs + n) }));
  for (const name of names.slice(1)) for (let n = 0; n < 25; n++) await read(name, n);
  expect(ana.changes).toHaveLength(200);
  expect(ana.changes.filter((one) => one.startsWith("m0 "))).toHaveLength(20);
  await ana.wait(999);
  await read("m0", 100);
  await ana.wait(1);
  await read("m0", 101);
  expect(ana.changes).toHaveLength(201);
});

test("the user's switch turns everything off both ways", async () => {
  const ana = watching();
  ana.presence.open();
  await ana.take(made({ as: "bob", kind: "present" }));
  ana.signals.isOn = false;
  expect([await ana.kinds(), ana.changes]).toEqual([
    ["bye", "present", "bye"],
    ["bob present", "bob gone"],
  ]);
  expect(ana.signals.subjects).toEqual([]);
  ana.presence.typing();
  ana.presence.setIdle(true);
  ana.presence.read({ id: newUlid(busMs) });
  await ana.wait(100_000);
  await ana.take(made({ as: "bob", timeMs: busMs + 100_000 }));
  expect([await ana.kinds(), ana.changes.length]).toEqual([[], 2]);
  ana.signals.isOn = true;
  expect([await ana.kinds(), ana.signals.subjects]).toEqual([["idle"], [signalSubject(ana.roomId, "*")]]);
});

test("a room whose signals the server refuses sends and receives none until the next login", async () => {
  const ana = watching();
  ana.presence.open();
  await ana.kinds();
  ana.signals.refused(signalSubject(ana.roomId, "*"));
  ana.presence.typing();
  expect([await ana.kinds(), ana.signals.subjects]).toEqual([[], []]);
  ana.signals.beforeLogin();
  expect(ana.signals.subjects).toHaveLength(1);
});

test("one timer serves all members and rooms", async () => {
  const names = ["ana", ...Array.from({ length: 100 }, (_, n) => `m${n}`)];
  const ana = watching({ names });
  const original = globalThis.setTimeout;
  let timers = 0;
  globalThis.setTimeout = ((...given: Parameters<typeof setTimeout>) => {
    timers += 1;
    return original(...given);
  }) as typeof setTimeout;
  try {
    for (const name of names.slice(1)) await ana.take(made({ as: name, kind: "present" }));
  } finally {
    globalThis.setTimeout = original;
  }
  expect([ana.changes.length, timers]).toEqual([100, 1]);
});

test("in a room that does not encrypt, signals are plain", async () => {
  const policy = { ...everyone, encrypt: false };
  const [ana, bob] = [watching({ policy }), peer("bob", { policy })];
  bob.presence.typing();
  await settled();
  await ana.take(bob.sent[0]);
  expect(ana.of("bob").isTyping).toBe(true);
});
