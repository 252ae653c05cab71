/** The health routes /healthz, /info and /readyz, also with plugins that fail, throw or hang. */
import { expect, test } from "bun:test";
import { Type } from "@sinclair/typebox";
import { definePlugin, type Health } from "../../src/contracts/plugin.ts";
import { UnibusError } from "../../src/wire/errors.ts";
import { answering, serving } from "./bus.ts";

/** A plugin with the given health. */
function feeling(name: string, health: () => Promise<Health>, facts: Record<string, string> = {}) {
  return definePlugin({
    name,
    api: 1,
    config: Type.Object({}),
    setup: async () => ({ services: {}, health, posture: facts, info: () => ({ namespaces: [name] }) }),
  });
}
const json = async (url: string): Promise<[number, unknown]> => {
  const reply = await fetch(url);
  return [reply.status, await reply.json()];
};

test("/healthz reports the process, the posture of the plugins, and the flags in force", async () => {
  const plugins = [feeling("store", async () => ({ ok: false }), { store: "memory" }), answering("other")];
  await using bus = await serving(plugins, { flags: { big: false }, overrides: { flags: { big: true } } });
  const posture = { auth: "none", tls: "false", cluster: "off", store: "memory", acl: "none", durability: "none" };
  expect(await json(`${bus.url}/healthz`)).toEqual([
    200,
    { status: "ok", version: "0.0.0", posture, flags: { big: true } },
  ]);
});

test("/info reports what plugins add, and the server's clock", async () => {
  await using bus = await serving([feeling("rooms", async () => ({ ok: true }))], { now: () => 1_700_000_000_123 });
  const [status, info] = await json(`${bus.url}/info`);
  expect(status).toBe(200);
  expect(info).toMatchObject({ name: "unibus", version: "0.0.0", auth: "none", namespaces: ["rooms"] });
  expect(info).toMatchObject({ time: "2023-11-14T22:13:20.123Z" });
  expect(info).not.toHaveProperty("public_url");
});

test("/info reports the public URL, if there is one, for links", async () => {
  await using bus = await serving([], { http: { public_url: "https://bus.example.org/" } });
  expect(await json(`${bus.url}/info`)).toEqual([
    200,
    expect.objectContaining({ public_url: "https://bus.example.org" }),
  ]);
});

test("/readyz answers 200 when every plugin is healthy, including one without a health check", async () => {
  await using bus = await serving([feeling("a", async () => ({ ok: true, detail: "fine" })), answering("b")]);
  const plugins = { a: { ok: true, detail: "fine" }, b: { ok: true } };
  expect(await json(`${bus.url}/readyz`)).toEqual([200, { ready: true, plugins }]);
});

test("/readyz answers 503 when a plugin is unhealthy in any way, and does not reveal thrown errors", async () => {
  const unwell = [
    feeling("down", async () => ({ ok: false, detail: "away" })),
    feeling("refusing", () => Promise.reject(new UnibusError("unavailable", "the store is corrupt"))),
    feeling("wild", () => Promise.reject(new Error("SELECT secret"))),
    feeling("wilder", () => {
      throw new Error("SELECT secret");
    }),
    feeling("well", async () => ({ ok: true })),
  ];
  await using bus = await serving(unwell);
  const plugins = {
    down: { ok: false, detail: "away" },
    refusing: { ok: false, detail: "the store is corrupt" },
    wild: { ok: false, detail: "failed" },
    wilder: { ok: false, detail: "failed" },
    well: { ok: true },
  };
  expect(await json(`${bus.url}/readyz`)).toEqual([503, { ready: false, plugins }]);
});

test("/readyz answers even if a plugin's health check hangs", async () => {
  await using bus = await serving([feeling("hung", () => new Promise(() => undefined))]);
  const plugins = { hung: { ok: false, detail: "health check timed out" } };
  expect(await json(`${bus.url}/readyz`)).toEqual([503, { ready: false, plugins }]);
});
