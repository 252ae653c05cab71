/** Members of one room whose signals a test carries between them, with clocks that it moves. */
import { afterEach } from "bun:test";
import { generateIdentity } from "../../src/client/crypto/identity.ts";
import { decrypt, encrypt } from "../../src/client/crypto/sealing.ts";
import { RoomSignals } from "../../src/client/rooms/room-signals.ts";
import { Signals } from "../../src/client/rooms/signals.ts";
import { type VerifiedRoom, verifiedRoom } from "../../src/client/trust/verified-room.ts";
import { signalSubject } from "../../src/wire/names.ts";
import { openSignal, parseSignal, type Signal, sealSignal, signalKey } from "../../src/wire/signal.ts";
import type { Policy } from "../../src/wire/statement.ts";

// It waits for the cipher, too.
const anyone = await generateIdentity();
const endpointOf = (name: string): string => name.padEnd(43, "_");
export const busMs = 1_800_000_000_000;
export const keyOf = (epoch: number): Uint8Array => new Uint8Array(32).fill(epoch);
export const everyone: Policy = { encrypt: true, persist: true, sign_msgs: true };

/** A room whose `gone` members were removed when its epoch began. */
export function roomOf(
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
  readonly follow?: () => Promise<void>;
}

const open: Signals[] = [];
afterEach(() => open.splice(0).forEach((signals) => void signals.close()));

/** One member's signals in one room, with a clock that the test moves. */
export function peer(name: string, given: Options = {}) {
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
    ...{ isOn: true, readMarks: given.readMarks, follow: given.follow ?? (async () => undefined), onTrouble },
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
export const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export function opened({ subject, data }: Sent, nowMs = 0): Signal | null {
  const sealed = parseSignal(subject, data);
  const signal = sealed && openSignal(sealed, signalKey(keyOf(sealed.epoch), sealed.roomId), busMs + nowMs, decrypt);
  return typeof signal === "string" ? null : signal;
}

/** A signal that a member made by hand. */
export interface Posed extends Partial<Signal> {
  readonly as: string;
  /** The name in the subject, if it is another one. */
  readonly on?: string;
  readonly roomId?: string;
  readonly epoch?: number;
  readonly key?: Uint8Array;
}

let counter = 0;
/** A signal as any member could make it: all have the room's key. */
export function made({ as, on = as, roomId = "01HZZZ00000000000000000001", epoch = 1, key, ...signal }: Posed): Sent {
  const whole: Signal = { timeMs: busMs, counter: counter++, kind: "typing", messageId: null, ...signal };
  const nonce = crypto.getRandomValues(new Uint8Array(24));
  const place = { roomId, endpoint: endpointOf(as), epoch };
  const data = sealSignal(whole, place, signalKey(key ?? keyOf(epoch), roomId), nonce, encrypt);
  return { subject: signalSubject("01HZZZ00000000000000000001", endpointOf(on)), data };
}

export function watching(given?: Options) {
  const ana = peer("ana", given);
  ana.presence.on("change", ({ endpoint, state, isTyping, readUpTo }) =>
    ana.changes.push(`${endpoint.replace(/_+$/, "")} ${isTyping ? "typing" : (state ?? readUpTo ?? "gone")}`),
  );
  return ana;
}
