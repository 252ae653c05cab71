/** The schemas of the HTTP API: what they accept and reject. Source: docs/reference/http.md. */
import { describe, expect, test } from "bun:test";
import type { TSchema } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import * as api from "../../src/wire/api.ts";
import { statusOf } from "../../src/wire/errors.ts";
import { at, vectors } from "../support/vectors.ts";

const key = vectors.keys.sign_pub;
const sig = vectors.keys.kex_sig;
const sealed = vectors.keybox.sealed_key;
const room = vectors.blob.room_id;
const endpoint = vectors.endpoint_id.endpoint_id;
const statement = { text: at(vectors.room_statement, 0).text, by: key, sig };

const fits = (schema: TSchema, value: unknown) => Value.Check(schema, value);

describe("values of the API", () => {
  const good: [string, TSchema, unknown][] = [
    ["a key", api.Key, key],
    ["a key in capitals", api.Key, key.toUpperCase()],
    ["a signature", api.Signature, sig],
    ["a sealed key", api.SealedKey, sealed],
    ["a handle", api.Handle, "Ada Lovelace 🦋"],
    ["a handle of many UTF-16 units", api.Handle, "e\u0301".repeat(64)],
  ];
  test.each(good)("%s is accepted", (_, schema, value) => {
    expect(fits(schema, value)).toBe(true);
  });

  const bad: [string, TSchema, unknown][] = [
    ["a short key", api.Key, key.slice(1)],
    ["a long key", api.Key, `${key}0`],
    ["a key followed by a newline", api.Key, `${key}\n`],
    ["a key that is a number", api.Key, 7],
    ["a signature without padding", api.Signature, sig.replace(/=+$/, "")],
    ["a signature in base64url", api.Signature, sig.replaceAll("/", "_")],
    ["an empty signature", api.Signature, ""],
    ["a sealed key that is too short", api.SealedKey, sealed.slice(4)],
    ["an empty handle", api.Handle, ""],
    ["a handle that is too long in any normalization form", api.Handle, "x".repeat(257)],
    ["an unknown role", api.UserRole, "root"],
  ];
  test.each(bad)("%s is rejected", (_, schema, value) => {
    expect(fits(schema, value)).toBe(false);
  });
});

describe("request bodies", () => {
  const good: [string, TSchema, Record<string, unknown>][] = [
    ["CreateRoom", api.CreateRoom, { statement, sealed_key: sealed }],
    ["CreateRoom, unencrypted", api.CreateRoom, { statement }],
    ["AddMembers", api.AddMembers, { members: [{ endpoint, sealed_key: sealed }], statement }],
    ["PutKeys", api.PutKeys, { kex_pub: vectors.keys.kex_pub, kex_sig: sig }],
    ["RoomParams", api.RoomParams, { id: room }],
    ["MemberParams", api.MemberParams, { id: room, endpoint }],
    ["EndpointParams", api.EndpointParams, { endpoint }],
  ];
  test.each(good)("%s is accepted, and rejected with an unknown field or without a required one", (_, schema, body) => {
    expect(fits(schema, body)).toBe(true);
    expect(fits(schema, { ...body, extra: 1 })).toBe(false);
    expect(fits(schema, {})).toBe(false);
    expect(fits(schema, [body])).toBe(false);
    expect(fits(schema, null)).toBe(false);
  });

  test("the body of the vectors is accepted", () => {
    expect(fits(api.PutKeys, JSON.parse(at(vectors.control_request, 0).body))).toBe(true);
  });

  test("a statement is limited in size", () => {
    expect(fits(api.Statement, { ...statement, text: "" })).toBe(false);
    expect(fits(api.Statement, { ...statement, text: "x".repeat(16_384) })).toBe(true);
    expect(fits(api.Statement, { ...statement, text: "x".repeat(16_385) })).toBe(false);
  });

  test("an addition of members is limited in number", () => {
    const members = (count: number) => ({ members: Array(count).fill({ endpoint }), statement });
    expect(fits(api.AddMembers, members(0))).toBe(false);
    expect(fits(api.AddMembers, members(api.membersMax))).toBe(true);
    expect(fits(api.AddMembers, members(api.membersMax + 1))).toBe(false);
  });

  test("queries are parsed from the strings of a URL", () => {
    expect(fits(api.HistoryQuery, { limit: "many", before: 0 })).toBe(true);
    expect(fits(api.HistoryQuery, { before: -1 })).toBe(false);
    expect(fits(api.StatementsQuery, { from: 0 })).toBe(false);
    expect(fits(api.KeyQuery, {})).toBe(true);
    for (const device of ["main", "phone2", "x".repeat(16)]) expect(fits(api.DeviceQuery, { device })).toBe(true);
    for (const device of ["", "Phone", "a.b", "x".repeat(17)]) expect(fits(api.DeviceQuery, { device })).toBe(false);
  });
});

test("an error reply has a message and a code", () => {
  for (const code of Object.keys(statusOf)) expect(fits(api.ErrorReply, { error: "no", code })).toBe(true);
  expect(fits(api.ErrorReply, { error: "no", code: "gone", stack: "at x" })).toBe(false);
});
