/**
 * The numbers that the specification fixes. Most tests use the constant of the code and so pass for any value; these
 * tests check the value itself.
 * Source: docs/protocol/rooms.md, docs/protocol/limits.md, docs/reference/http.md, docs/protocol/identity.md,
 * docs/protocol/history.md.
 */
import { expect, test } from "bun:test";
import { keyLifetimeDefault } from "../../src/client/trust/key-age.ts";
import { blobBytesMin } from "../../src/contracts/blobs.ts";
import { grantBytesMax } from "../../src/contracts/grant.ts";
import { unacceptedLimits } from "../../src/contracts/unaccepted.ts";
import { nonceLifeMs, noncesMax } from "../../src/plugins/auth/nonces.ts";
import { holdMsMax } from "../../src/plugins/auth-callout/gate.ts";
import { overdraftBytes } from "../../src/plugins/rooms/row-quota.ts";
import * as api from "../../src/wire/api.ts";
import { frameBytesMax } from "../../src/wire/frame.ts";
import { handleLengthMax, subjectLengthMax } from "../../src/wire/names.ts";
import { dedupWindowMs, natsPayloadBytesMax } from "../../src/wire/room-stream.ts";
import { skewSMax } from "../../src/wire/sign.ts";
import { epochMax, ownersMax } from "../../src/wire/statement.ts";

const kib = 1_024;
const mib = 1_048_576;

test("body sizes, in bytes", () => {
  const { bodyBytesMax, bodiesBytesMax, registerBytesMax, blobBytesMax, restoreBytesMax, historyBytesMax } = api;
  expect([bodyBytesMax, bodiesBytesMax, registerBytesMax]).toEqual([mib, 64 * mib, 4 * kib]);
  expect([blobBytesMax, restoreBytesMax, historyBytesMax]).toEqual([16 * mib, 32 * mib, 8 * mib]);
  expect([frameBytesMax, natsPayloadBytesMax]).toEqual([mib, mib + 64 * kib]);
});

test("list lengths", () => {
  expect([api.usersPageMax, api.roomsMax, api.statementsMax, api.historyLimit.max]).toEqual([
    ...[1_000, 1_000, 1_000, 1_000],
  ]);
  expect([api.membersMax, ownersMax, api.devicesMax]).toEqual([5_000, 100, 8]);
});

test("names and epochs", () => {
  expect([subjectLengthMax, handleLengthMax, epochMax]).toEqual([200, 64, 2 ** 31 - 1]);
});

test("quotas and grants", () => {
  expect([grantBytesMax, blobBytesMin, overdraftBytes]).toEqual([400 * kib, 4 * kib, 64 * mib]);
  expect(unacceptedLimits).toEqual({ perAdder: 100, sharedFrom: 10_000 });
});

test("times, in milliseconds except for the clock skew", () => {
  expect([skewSMax, dedupWindowMs, holdMsMax]).toEqual([30, 120_000, 1_500]);
  // A signature is valid for 30 s on either side of the clock, so its nonce must be remembered for more than 60 s.
  expect(nonceLifeMs).toBeGreaterThan(2_000 * skewSMax);
  expect(noncesMax).toEqual({ user: 20_000, all: 1_000_000 });
  expect(keyLifetimeDefault).toEqual({ days: 30, messages: 100_000 });
});
