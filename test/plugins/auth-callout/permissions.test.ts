import { describe, expect, test } from "bun:test";
import { ulid } from "ulid";
import type { Membership } from "../../../src/contracts/store.ts";
import { permissionsOf } from "../../../src/plugins/auth-callout/permissions.ts";
import { zeroHash } from "../../../src/wire/statement.ts";
import { policy } from "../../support/peer.ts";

const endpoint = `${"A-b_".repeat(10)}xyz`;

function membership(subject: string, persist: boolean, devices: readonly string[] = []): Membership {
  const roomId = ulid();
  return {
    room: {
      ...{ roomId, subject, policy: policy(...(persist ? (["persist"] as const) : [])), epoch: 1, keyCheck: zeroHash },
      ...{ version: 1, statementHash: zeroHash, creator: endpoint, createdAt: 0, deletedAt: null, rekeyPending: false },
    },
    stay: {
      ...{ endpoint, sign_pub: "", kex_pub: "", kex_sig: "", handle: "", role: "member", since: 1, until: 0 },
      ...{ leftAt: null, acceptedAt: 1, addedBy: null, devices },
    },
  };
}

describe("a peer without a room", () => {
  test("may answer requests, and hear its inboxes and its notices; no list is empty", () => {
    expect(permissionsOf(endpoint, [])).toEqual({
      publish: ["_INBOX.*.r.>"],
      subscribe: [`_INBOX.${endpoint}.>`, `unibus.user.${endpoint}.>`],
    });
  });
});

describe("a member", () => {
  const quiet = membership("rpc.sum", false);
  const kept = membership("room.general", true, ["phone", "main"]);
  const [stream, sanitized] = [`UNIBUS_${kept.room.roomId}`, endpoint.replaceAll("-", "_")];
  const given = permissionsOf(endpoint, [quiet, kept]);

  test("speaks in its rooms, acknowledges its own durables, one for each device, and no more", () => {
    expect([...given.publish].sort()).toEqual(
      [
        ...["_INBOX.*.r.>", "rpc.sum", "room.general"],
        `$JS.ACK.${stream}.${kept.room.roomId}_${sanitized}.>`,
        `$JS.ACK.${stream}.${kept.room.roomId}_${sanitized}_phone.>`,
      ].sort(),
    );
  });

  test("hears its rooms, and what is delivered to it of those that are kept", () => {
    expect([...given.subscribe].sort()).toEqual(
      [
        ...[`_INBOX.${endpoint}.>`, `unibus.user.${endpoint}.>`, "rpc.sum", "room.general"],
        `_DELIVER.${endpoint}.${kept.room.roomId}.*`,
      ].sort(),
    );
  });

  test("has nothing of the JetStream API, of the system, of an inbox for PubAcks", () => {
    for (const subject of [...given.publish, ...given.subscribe]) {
      expect(subject).not.toMatch(/^(\$JS\.API|\$SYS|\$KV|\$O|_R_|>|\*)/);
    }
    expect(given.publish.some((subject) => /^_INBOX\.[^.]+\.a/.test(subject))).toBe(false);
    expect(given.publish.some((subject) => subject.startsWith("unibus.") || subject.startsWith("_DELIVER"))).toBe(
      false,
    );
  });

  test("has of two rooms of like names exactly those two", () => {
    const { publish } = permissionsOf(endpoint, [membership("room.a", false), membership("room.a.b", false)]);
    expect(publish).toEqual(["_INBOX.*.r.>", "room.a", "room.a.b"]);
  });
});
