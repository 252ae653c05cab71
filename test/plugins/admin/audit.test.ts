/**
 * Each change that an administrator may have to trace is one structured log line: who, what, from where and in which
 * request, without secrets. Source: docs/operate.md.
 */
import { expect, test } from "bun:test";
import { generateIdentity } from "../../../src/client/crypto/identity.ts";
import { type AuditEvent, auditEvents } from "../../../src/contracts/audit.ts";
import { sha256Hex } from "../../../src/wire/encoding.ts";
import { register } from "../../support/accounts.ts";
import { until } from "../../support/executable.ts";
import { bootInProcess, insertUser } from "../../support/in-process.ts";
import {
  addBody,
  at,
  call,
  createBody,
  dial,
  freshSubject,
  kickBody,
  newRoom,
  policy,
  roleBody,
  signedHeaders,
} from "../../support/peer.ts";

type Line = { readonly message: string; readonly event?: AuditEvent } & Readonly<Record<string, unknown>>;

/** Events that this test does not cause: restoring rooms needs a bus that was itself restored. */
const elsewhere: readonly AuditEvent[] = ["room_restored", "chain_admitted"];

test("each change is one line with its author, address and request, and no line contains a secret", async () => {
  const lines: Line[] = [];
  const note = (message: string, fields: Record<string, unknown> = {}) => void lines.push({ ...fields, message });
  const log = { debug: note, info: note, warn: note, error: note };
  await using running = await bootInProcess({ log });
  const { http } = running.server.ready;
  const admin = await insertUser(running, "admin", "admin");
  const [ana, bob] = [await insertUser(running, "ana"), await insertUser(running, "bob")];
  const guest = await generateIdentity();
  const told = new Set<AuditEvent>();
  const of = (event: AuditEvent) => lines.filter((line) => line.event === event);

  /** Makes a request that causes one event. */
  const does = async (
    event: AuditEvent,
    request: Promise<Awaited<ReturnType<typeof call>>>,
    facts: object,
    by = admin,
  ) => {
    const before = of(event).length;
    const reply = await request;
    expect([event, reply.status < 300]).toEqual([event, true]);
    const [line, ...others] = of(event).slice(before);
    const request_id = reply.headers.get("x-request-id");
    const from = { by: by.endpoint, address: "127.0.0.1", request_id, message: event.replaceAll("_", " ") };
    expect(line).toEqual({ event, ...from, ...facts } as never);
    expect(others).toEqual([]);
    told.add(event);
    return reply.json;
  };
  const ask = (method: string, target: string, body?: unknown) => call(http, admin, method, target, body);
  const as = (who: typeof ana, method: string, target: string, body?: unknown) => call(http, who, method, target, body);

  const invited = { handle: "eve", role: "member" };
  const { id: invite, token } = await does("invite_created", ask("POST", "/invites", invited), {
    ...{ ...invited, invite: expect.stringMatching(/^[0-9a-f]{32}$/) },
  });
  const eve = await generateIdentity();
  const joined = await register(http, String(token), eve);
  expect(of("user_joined")).toEqual([
    {
      ...{ event: "user_joined", message: "user joined", by: null, address: "127.0.0.1", user: eve.endpoint },
      ...{ ...invited, request_id: joined.headers.get("x-request-id") },
    },
  ]);
  told.add("user_joined");
  const other = await ask("POST", "/invites", invited);
  await does("invite_cancelled", ask("DELETE", `/invites/${other.json.id}`), { invite: other.json.id });
  expect(invite).not.toBe(other.json.id);

  const user = { user: guest.endpoint };
  const target = `/users/${guest.signPubHex}`;
  const added = { sign_pub: guest.signPubHex, handle: "guest", role: "member" };
  await does("user_added", ask("POST", "/users", added), { ...user, handle: "guest", role: "member" });
  await does("user_renamed", ask("PUT", target, { handle: " new " }), { ...user, handle: "new" });
  await does("user_revoked", ask("POST", `${target}/revoke`), user);
  await does("user_restored", ask("POST", `${target}/restore`), user);
  await does("user_deleted", ask("DELETE", target), user);

  const room = newRoom(ana, freshSubject(), policy("encrypt", "persist"));
  const { roomId: room_id, subject } = room.state;
  await does("room_created", as(ana, "POST", "/rooms", createBody(room)), { room_id, subject }, ana);
  const writer = await dial(running.server, ana);
  await writer.request(subject, "junk");
  await writer.close();
  const junk = { room_id, seq: 1, sender: null, sha256: sha256Hex("junk") };
  await does("message_erased", as(ana, "DELETE", at(room, "/messages/1")), junk, ana);
  const addition = addBody(room, bob, eve);
  const members = { members: [bob.endpoint, eve.endpoint] };
  await does("members_added", as(ana, "POST", at(room, "/members"), addition.body), { room_id, ...members }, ana);
  const peer = await dial(running.server, bob);
  const role = roleBody(addition.room, eve, "owner");
  const facts = { room_id, member: eve.endpoint, role: "owner" };
  await does("role_changed", as(ana, "PUT", at(room, `/members/${eve.endpoint}/role`), role.body), facts, ana);
  const key = kickBody(role.room, [], [ana, bob, eve]);
  await does("room_rekeyed", as(ana, "POST", at(room, "/rekey"), key.body), { room_id, version: 4 }, ana);
  const leaves = as(eve, "DELETE", at(room, `/members/${eve.endpoint}`));
  await does("member_left", leaves, { room_id, member: eve.endpoint }, eve);
  const kick = kickBody(key.room, [bob, eve], [ana]);
  const kicks = as(ana, "DELETE", at(room, `/members/${bob.endpoint}`), kick.body);
  await does("member_removed", kicks, { room_id, member: bob.endpoint }, ana);
  await does("room_deleted", as(ana, "DELETE", at(room)), { room_id, subject }, ana);

  await ask("POST", `/users/${bob.signPubHex}/revoke`);
  await until("the connection is cut", () => peer.isClosed());
  await until("the line is written", () => of("connection_cut").some((line) => line.user === bob.endpoint));
  await dial(running.server, guest).catch(() => undefined);
  expect(of("login_refused")).toMatchObject([{ address: "127.0.0.1", why: expect.any(String) }]);
  told.add("connection_cut").add("login_refused");

  expect([...told, ...elsewhere].sort()).toEqual([...auditEvents].sort());
  for (const secret of [token, other.json.token]) expect(JSON.stringify(lines)).not.toContain(String(secret));
}, 60_000);

test("a refused change causes no event, and the address behind a trusted proxy is the client's", async () => {
  const lines: Line[] = [];
  const silent = () => undefined;
  const info = (message: string, fields: Record<string, unknown> = {}) => void lines.push({ ...fields, message });
  const log = { debug: silent, info, warn: silent, error: silent };
  const hosts = { hosts: ["bus.example.org"], trusted_proxies: ["127.0.0.0/8"] };
  await using running = await bootInProcess({ log, settings: { http: hosts } });
  const admin = await insertUser(running, "admin", "admin");
  const { signPubHex } = await insertUser(running, "ana");
  const { http } = running.server.ready;
  expect((await call(http, admin, "POST", `/users/${"0".repeat(64)}/revoke`)).status).toBe(404);
  expect(lines.filter(({ event }) => event !== undefined)).toEqual([]);
  const target = `/users/${signPubHex}/revoke`;
  const signed = signedHeaders(admin, { url: "http://bus.example.org", method: "POST", target });
  const headers = { ...signed, "x-forwarded-for": "203.0.113.9" };
  expect((await fetch(`${http}${target}`, { method: "POST", headers })).status).toBe(204);
  expect(lines.filter(({ event }) => event !== undefined)).toMatchObject([{ address: "203.0.113.9" }]);
}, 60_000);
