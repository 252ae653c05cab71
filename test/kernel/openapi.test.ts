/**
 * The HTTP contract: the OpenAPI document is frozen and complete, and every refusal of the server matches it.
 * A failing comparison means that the API changed and clients may break.
 * Source: docs/protocol/requests.md, docs/reference/http.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { type Contract, files, reference } from "../../scripts/reference.ts";
import { generateIdentity, type Identity } from "../../src/client/crypto/identity.ts";
import { statusOf } from "../../src/wire/errors.ts";
import { expectGolden } from "../support/golden.ts";
import { bootInProcess, type InProcess } from "../support/in-process.ts";
import { send, signedHeaders } from "../support/peer.ts";

let live: InProcess;
let document: Contract & Readonly<Record<string, unknown>>;
let member: Identity;
let admin: Identity;

beforeAll(async () => {
  live = await bootInProcess();
  const reply = await send(`${live.server.ready.http}/openapi.json`);
  document = reply.json as typeof document;
  [admin, member] = [await generateIdentity(), await generateIdentity()];
  const users = live.bus.service({ id: "users" }) as { add(user: object): Promise<unknown> };
  for (const [identity, role] of [
    [admin, "admin"],
    [member, "member"],
  ] as const) {
    await users.add({
      signPub: identity.signPubHex,
      kexPub: identity.kexPubHex,
      kexSig: identity.kexSig,
      handle: role,
      role,
    });
  }
});
afterAll(() => live[Symbol.asyncDispose]());

interface Operation {
  readonly name: string;
  readonly method: string;
  readonly path: string;
  readonly access: string;
  readonly parameters: readonly { readonly name: string; readonly in: string }[];
  readonly responses: Readonly<Record<string, { readonly description: string; readonly content?: object }>>;
}

function operations(): Operation[] {
  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      ...{ name: `${method.toUpperCase()} ${path}`, method: method.toUpperCase(), path },
      ...{ access: operation["x-access"], parameters: operation.parameters, responses: operation.responses },
    })),
  );
}

test("the OpenAPI document is frozen", () => {
  expectGolden("openapi.json", `${JSON.stringify(document, null, 2)}\n`);
});

test("the reference page is up to date (bun scripts/reference.ts writes it)", () => {
  expect(existsSync(files.reference) ? readFileSync(files.reference, "utf8") : "").toBe(reference(document));
});

describe("the document", () => {
  test("lists exactly the parameters of each path", () => {
    for (const { name, path, parameters } of operations()) {
      const inPath = parameters.filter((one) => one.in === "path").map((one) => one.name);
      expect([name, inPath]).toEqual([name, [...path.matchAll(/\{(\w+)\}/g)].map(([, parameter]) => parameter ?? "")]);
    }
  });

  test("lists for each status the codes that have it, and every code that any route can return", () => {
    for (const { name, access, responses } of operations()) {
      for (const [status, { description }] of Object.entries(responses)) {
        if (Number(status) < 400) continue;
        for (const code of description.split(", ")) {
          expect([name, code, statusOf[code as keyof typeof statusOf]]).toEqual([name, code, Number(status) as never]);
        }
      }
      const always = ["400", "408", "413", "415", "429", "500", "503"];
      const wanted = [...always, ...(access === "public" ? [] : ["401"]), ...(access === "admin" ? ["403"] : [])];
      expect([name, wanted.filter((status) => responses[status] === undefined)]).toEqual([name, []]);
    }
  });

  test("gives each operation a unique id and a described tag, and marks those that need no signature", () => {
    const all = Object.values(document.paths).flatMap((methods) => Object.values(methods)) as readonly object[] as {
      readonly operationId: string;
      readonly tags: readonly string[];
      readonly security: readonly object[];
      readonly "x-access": string;
    }[];
    const ids = all.map(({ operationId }) => operationId);
    expect(ids.filter((id) => !/^(get|post|put|delete)([A-Z][A-Za-z0-9]*)+$/.test(id))).toEqual([]);
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids).toContain("getRoomsByIdMembers");
    const described = (document.tags as { name: string }[]).map(({ name }) => name);
    expect(new Set(all.flatMap(({ tags }) => tags))).toEqual(new Set(described));
    for (const { tags, security, ...operation } of all) {
      expect([tags.length, security.length]).toEqual([1, operation["x-access"] === "public" ? 0 : 1]);
    }
  });

  test("has no dangling reference", () => {
    const text = JSON.stringify(document);
    const targets = [...text.matchAll(/"\$ref":"#\/([^"]+)"/g)].map(([, target]) => (target ?? "").split("/"));
    expect(targets.length).toBeGreaterThan(0);
    for (const target of targets) {
      const found = target.reduce<unknown>((at, key) => (at as Record<string, unknown> | undefined)?.[key], document);
      expect([target, typeof found]).toEqual([target, "object"]);
    }
  });
});

describe("every refusal is documented, with its code:", () => {
  const ids = { id: "01ARZ3NDEKTSV4RRFFQ69G5FAV", endpoint: "A".repeat(43), hash: "0".repeat(64) };
  const invited = "0".repeat(32);
  const filled = ({ path }: Operation, wrong: boolean): string =>
    path.replace(/\{(\w+)\}/g, (_, name: string) => {
      if (wrong) return "%20wrong";
      if (path.startsWith("/invites")) return invited;
      return { ...ids, sign_pub: "0".repeat(64) }[name] ?? "x";
    });

  /** What a caller sends, with or without a valid signature. */
  interface Attempt {
    readonly signer: () => Identity | null;
    readonly wrong?: boolean;
    readonly body?: string;
    readonly headers?: Record<string, string>;
    readonly query?: string;
  }

  const attempts: Readonly<Record<string, Attempt>> = {
    "no signature": { signer: () => null },
    "a stranger": { signer: () => stranger },
    "a member, nothing exists": { signer: () => member },
    "an admin, nothing exists": { signer: () => admin },
    "a bad path": { signer: () => admin, wrong: true },
    "a bad query": { signer: () => admin, query: "?from=x&epoch=x&before=x&device=X!&limit=x" },
    "invalid JSON": { signer: () => admin, body: "{" },
    "JSON of another shape": { signer: () => admin, body: '{"unknown":"field"}' },
    "an encoded body": { signer: () => admin, body: "{}", headers: { "content-encoding": "gzip" } },
    "a large body": { signer: () => admin, body: " ".repeat(1_048_577) },
    "a forged signature": { signer: () => admin, headers: { "x-unibus-sig": Buffer.alloc(64).toString("base64") } },
    "another host": { signer: () => admin, headers: { "x-unibus-host": "elsewhere.example" } },
    "an old time": { signer: () => admin, headers: { "x-unibus-ts": "1000000000" } },
  };
  let stranger: Identity;
  beforeAll(async () => {
    stranger = await generateIdentity();
  });

  test.each(Object.entries(attempts))("%s", async (_, { signer, wrong = false, body, headers = {}, query = "" }) => {
    const { http } = live.server.ready;
    for (const operation of operations()) {
      const { name, method, responses } = operation;
      const target = `${filled(operation, wrong)}${query}`;
      const sent = method === "GET" ? undefined : body;
      const identity = signer();
      const signed = { url: http, method, target, ...(sent === undefined ? {} : { body: sent }) };
      const signature = identity === null ? {} : signedHeaders(identity, signed);
      const request = { method, headers: { ...signature, ...headers }, ...(sent === undefined ? {} : { body: sent }) };
      const reply = await send(`${http}${target}`, request);
      expect([name, reply.status, Object.keys(responses)]).toEqual([
        name,
        reply.status,
        expect.arrayContaining([String(reply.status)]),
      ]);
      if (reply.status < 400) continue;
      const codes = responses[reply.status]?.description.split(", ");
      expect([name, codes]).toEqual([name, expect.arrayContaining([reply.json.code as string])]);
    }
  });
});
