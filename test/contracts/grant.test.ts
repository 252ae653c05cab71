/**
 * The permissions of a login: exactly the subjects of accepted rooms, own durables and inboxes, and at most 400 KiB.
 */
import { describe, expect, test } from "bun:test";
import { ulid } from "ulid";
import { grantBytesMax, grantOf } from "../../src/contracts/grant.ts";
import type { Membership } from "../../src/contracts/store.ts";
import { zeroHash } from "../../src/wire/statement.ts";
import { policy } from "../support/peer.ts";

const endpoint = `${"A-b_".repeat(10)}xyz`;

function membership(
  subject: string,
  persist: boolean,
  { devices = [], acceptedAt = 1 }: { readonly devices?: readonly string[]; readonly acceptedAt?: number | null } = {},
): Membership {
  const roomId = ulid();
  return {
    room: {
      ...{ roomId, subject, policy: policy(...(persist ? (["persist"] as const) : [])), epoch: 1, keyCheck: zeroHash },
      ...{
        version: 1,
        statementHash: zeroHash,
        creator: endpoint,
        createdAt: 0,
        deletedAt: null,
        rekeyPending: false,
        revision: 1,
      },
    },
    stay: {
      ...{ endpoint, sign_pub: "", kex_pub: "", kex_sig: "", handle: "", role: "member", since: 1, until: 0 },
      ...{ leftAt: null, acceptedAt, addedBy: null, devices },
    },
  };
}

describe("a user without a room", () => {
  test("may answer requests, and receive on its inboxes and notices; no list is empty", () => {
    expect(grantOf(endpoint, [])).toEqual({
      publish: ["_INBOX.*.r.>"],
      subscribe: [`_INBOX.${endpoint}.>`, `_DELIVER.${endpoint}.>`, `unibus.user.${endpoint}.>`],
      subscriptionsMax: 1_000,
      roomIds: new Set(),
    });
  });
});

describe("a member", () => {
  const quiet = membership("rpc.sum", false);
  const kept = membership("room.general", true, { devices: ["phone", "main"] });
  const [stream, sanitized] = [`UNIBUS_${kept.room.roomId}`, endpoint.replaceAll("-", "_")];
  const given = grantOf(endpoint, [quiet, kept]);

  test("may publish to its rooms and acknowledge its own durables, one for each device, and nothing else", () => {
    expect([...given.publish].sort()).toEqual(
      [
        ...["_INBOX.*.r.>", "rpc.sum", "room.general"],
        `$JS.ACK.${stream}.${kept.room.roomId}_${sanitized}.>`,
        `$JS.ACK.${stream}.${kept.room.roomId}_${sanitized}_phone.>`,
      ].sort(),
    );
  });

  test("may not acknowledge for a device without a consumer, not even the main one", () => {
    const { publish } = grantOf(endpoint, [membership("room.general", true)]);
    expect(publish).toEqual(["_INBOX.*.r.>", "room.general"]);
  });

  test("may subscribe to its rooms and its deliveries", () => {
    expect([...given.subscribe].sort()).toEqual(
      [
        ...[`_INBOX.${endpoint}.>`, `unibus.user.${endpoint}.>`, `_DELIVER.${endpoint}.>`],
        ...["rpc.sum", "room.general"],
      ].sort(),
    );
  });

  test("may have two subscriptions for each room, one for each device, and a thousand more", () => {
    expect(given.subscriptionsMax).toBe(2 * 2 + 2 + 1_000);
  });

  test("has no access to the JetStream API, the system, or an inbox for PubAcks", () => {
    for (const subject of [...given.publish, ...given.subscribe]) {
      expect(subject).not.toMatch(/^(\$JS\.API|\$SYS|\$KV|\$O|_R_|>|\*)/);
    }
    expect(given.publish.some((subject) => /^_INBOX\.[^.]+\.a/.test(subject))).toBe(false);
    expect(given.publish.some((subject) => subject.startsWith("unibus.") || subject.startsWith("_DELIVER"))).toBe(
      false,
    );
  });

  test("of two rooms with similar names has access to exactly those two", () => {
    const { publish } = grantOf(endpoint, [membership("room.a", false), membership("room.a.b", false)]);
    expect([...publish].sort()).toEqual(["_INBOX.*.r.>", "room.a", "room.a.b"]);
  });
});

describe("signals", () => {
  const signalling = (subject: string, acceptedAt: number | null = 1) => ({
    ...membership(subject, false, { acceptedAt }),
    signals: true,
  });
  const ofSignals = (subjects: readonly string[]) => subjects.filter((subject) => subject.startsWith("_SIG."));

  test("of a room are granted where it has them: to publish one's own, and to receive all of that room", () => {
    const [small, large, not] = [signalling("room.a"), membership("room.b", false), signalling("room.c", null)];
    const { publish, subscribe, subscriptionsMax } = grantOf(endpoint, [small, large, not]);
    expect(ofSignals(publish)).toEqual([`_SIG.${small.room.roomId}.${endpoint}`]);
    expect(ofSignals(subscribe)).toEqual([`_SIG.${small.room.roomId}.*`]);
    expect(subscriptionsMax).toBe(2 * 2 + 1 + 1_000);
  });

  test("get the space that all rooms leave, in the order of acceptance, and never take a room's place", () => {
    const long = (n: number) => `room.${String(n).padStart(60, "x")}`;
    for (const [count, expected] of [
      [1_500, "all"],
      [2_700, "some"],
      [4_000, "none"],
    ] as const) {
      const memberships = Array.from({ length: count }, (_, n) => signalling(long(n), n + 1));
      const given = grantOf(endpoint, memberships);
      const without = grantOf(
        endpoint,
        memberships.map((one) => ({ ...one, signals: false })),
      );
      expect(given.roomIds).toEqual(without.roomIds);
      const own = ofSignals(given.publish);
      expect(own).toEqual(memberships.slice(0, own.length).map(({ room }) => `_SIG.${room.roomId}.${endpoint}`));
      expect(ofSignals(given.subscribe)).toHaveLength(own.length);
      expect(own.length === count ? "all" : own.length > 0 ? "some" : "none").toBe(expected);
      const bytes = JSON.stringify([...given.publish, ...given.subscribe]).length;
      expect(bytes).toBeLessThan(grantBytesMax + 1_000);
    }
  });
});

describe("a grant", () => {
  const long = (n: number) => `room.${String(n).padStart(195, "x")}`;
  const bytesOf = ({ publish, subscribe }: { publish: readonly string[]; subscribe: readonly string[] }) =>
    JSON.stringify([...publish, ...subscribe]).length;

  test("contains no room that was not accepted", () => {
    const given = grantOf(endpoint, [
      membership("room.mine", false),
      membership("room.not", true, { acceptedAt: null }),
    ]);
    expect(given.publish).toEqual(["_INBOX.*.r.>", "room.mine"]);
    expect(given.subscribe).not.toContain("room.not");
    expect(given.roomIds.size).toBe(1);
  });

  test("contains at most 400 KiB: the rooms that were accepted first", () => {
    const memberships = Array.from({ length: 1_200 }, (_, n) => membership(long(n), true, { acceptedAt: 5_000 - n }));
    const given = grantOf(endpoint, memberships);
    expect(bytesOf(given)).toBeLessThan(grantBytesMax + 1_000);
    expect(bytesOf(given)).toBeGreaterThan(grantBytesMax - 1_000);
    const oldest = memberships.slice(-given.roomIds.size).map(({ room }) => room.roomId);
    expect([...given.roomIds].sort()).toEqual(oldest.sort());
    expect(given.subscriptionsMax).toBe(2 * given.roomIds.size + 1_000);
  });

  test("counts the bytes for a room's devices", () => {
    const devices = Array.from({ length: 8 }, (_, n) => `device${n}`);
    const memberships = Array.from({ length: 1_000 }, (_, n) => membership(long(n), true, { devices }));
    expect(bytesOf(grantOf(endpoint, memberships))).toBeLessThan(grantBytesMax + 1_000);
  });
});
