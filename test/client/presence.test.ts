/** Signals of a room: what a peer sends and when, and what it believes. Source: docs/protocol/signals.md. */
import { afterEach, expect, test } from "bun:test";
import { generateIdentity } from "../../src/client/crypto/identity.ts";
import { decrypt, encrypt } from "../../src/client/crypto/sealing.ts";
import { RoomSignals } from "../../src/client/rooms/room-signals.ts";
import { Signals } from "../../src/client/rooms/signals.ts";
import { type VerifiedRoom, verifiedRoom } from "../../src/client/trust/verified-room.ts";
import { signalSubject } from "../../src/wire/names.ts";
import { openSignal, parseSignal, type Signal, sealSignal, signalKey } from "../../src/wire/signal.ts";
import type { Policy } from "../../src/wire/statement.ts";
import { newUlid } from "../../src/wire/ulid.ts";

// It waits for the cipher, too.
const anyone = await generateIdentity();
const endpointOf = (name: string): string => name.padEnd(43, "_");
const busMs = 1_800_000_000_000;
const keyOf = (epoch: number): Uint8Array => new Uint8Array(32).fill(epoch);
const everyone: Policy = { encrypt: true, persist: true, sign_msgs: true };

/** A room whose `gone` members were removed when its epoch began. */
function roomOf(
  roomId: string,
  names: readonly string[],
  epoch: number,
  policy: Policy,
  gone: readonly string[] = [],
): VerifiedRoom {
  const lines = [...names, ...gone].map((name) => ({
    ...{ endpoint: endpointOf(name), role: "owner" as const, since: 1, left: false, handle: name },
    until: gone.includes(name) ? epoch : 0,
    ...{ sign_pub: anyone.signPubHex, kex_pub: anyone.kexPubHex, kex_sig: anyone.kexSig },
  }));
  const state = { roomId, version: 1, prev: "", subject: "room.a", policy, epoch, keyCheck: "", lines };
  return verifiedRoom(state, "", []);
}

interface Sent {
  readonly subject: string;
  readonly data: Uint8Array;
}

interface Options {
  readonly names?: readonly string[];
  readonly roomId?: string;
  readonly epoch?: number;
  readonly policy?: Policy;
  readonly readMarks?: boolean;
}

const open: Signals[] = [];
afterEach(() => open.splice(0).forEach((signals) => void signals.close()));

/** One member's signals in one room, with a clock that the test moves. */
function peer(name: string, given: Options = {}) {
  const { names = ["ana", "bob"], roomId = "01HZZZ00000000000000000001", epoch = 1, policy = everyone } = given;
  const clock = { nowMs: 0 };
  const sent: Sent[] = [];
  const room = { value: roomOf(roomId, names, epoch, policy), newerSinceMs: Number.POSITIVE_INFINITY };
  const onTrouble = (error: unknown) => {
    throw error;
  };
  const signals = new Signals({
    me: endpointOf(name),
    clock: { now: () => busMs + clock.nowMs, steadyMs: () => clock.nowMs },
    ...{ isOn: true, readMarks: given.readMarks, follow: async () => undefined, onTrouble },
    line: () => line,
  });
  const line = {
    publish: (subject: string, data: Uint8Array | string) => sent.push({ subject, data: data as Uint8Array }),
  };
  open.push(signals);
  const listeners: (() => void)[] = [];
  const presence = new RoomSignals({
    trust: {
      roomId,
      get room() {
        return room.value;
      },
      newerSinceMs: (old) => (old < room.value.state.epoch ? room.newerSinceMs : Number.POSITIVE_INFINITY),
      onVersion: (listener) => {
        listeners.push(listener);
        return () => undefined;
      },
    },
    keys: { key: async (asked) => (policy.encrypt ? keyOf(asked) : null) },
    ...{ signals, maySend: () => true, onTrouble },
  });
  const changes: string[] = [];
  const of = (other: string) => presence.of(endpointOf(other));
  return {
    ...{ clock, sent, room, signals, presence, changes, of, roomId, names, policy },
    changed: () => listeners.forEach((listener) => void listener()),
    /** The kinds of what was sent since the last call. */
    async kinds(): Promise<string[]> {
      await settled();
      return sent.splice(0).map((one) => opened(one, clock.nowMs)?.kind ?? "not a signal");
    },
    async take(one: Sent | undefined): Promise<void> {
      if (one !== undefined) signals.take(one);
      await settled();
    },
    /** Moves the clock, and does what is due. */
    async wait(ms: number): Promise<void> {
      clock.nowMs += ms;
      presence.tick(clock.nowMs);
      await settled();
    },
  };
}

/** Lets work that is ready run: keys are read from memory here. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function opened({ subject, data }: Sent, nowMs = 0): Signal | null {
  const sealed = parseSignal(subject, data);
  const signal = sealed && openSignal(sealed, signalKey(keyOf(sealed.epoch), sealed.roomId), busMs + nowMs, decrypt);
  return typeof signal === "string" ? null : signal;
}

interface Posed extends Partial<Signal> {
  readonly as: string;
  /** The name in the subject, if it is another one. */
  readonly on?: string;
  readonly roomId?: string;
  readonly epoch?: number;
  readonly key?: Uint8Array;
}

let counter = 0;
/** A signal as any member could make it: all have the room's key. */
function made({ as, on = as, roomId = "01HZZZ00000000000000000001", epoch = 1, key, ...signal }: Posed): Sent {
  const whole: Signal = { timeMs: busMs, counter: counter++, kind: "typing", messageId: null, ...signal };
  const nonce = crypto.getRandomValues(new Uint8Array(24));
  const place = { roomId, endpoint: endpointOf(as), epoch };
  const data = sealSignal(whole, place, signalKey(key ?? keyOf(epoch), roomId), nonce, encrypt);
  return { subject: signalSubject("01HZZZ00000000000000000001", endpointOf(on)), data };
}

function watching(given?: Options) {
  const ana = peer("ana", given);
  ana.presence.on("change", ({ endpoint, state, isTyping, readUpTo }) =>
    ana.changes.push(`${endpoint.replace(/_+$/, "")} ${isTyping ? "typing" : (state ?? readUpTo ?? "gone")}`),
  );
  return ana;
}

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
  await ana.take(bob.sent[0]);
  expect([await bob.kinds(), ana.of("bob").state]).toEqual([["present"], "present"]);
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

test("a member who comes learns within 2 s who is here, and one who comes and goes causes a signal every 10 s", async () => {
  const bob = peer("bob");
  const close = bob.presence.open();
  expect(await bob.kinds()).toEqual(["present"]);
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
    ["present", "bye"],
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
