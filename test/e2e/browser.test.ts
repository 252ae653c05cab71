/**
 * Parts of the client in a real browser, on a page with a strict Content-Security-Policy: test vectors, signatures,
 * identities and state in IndexedDB, and the contents of the bundle.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { browserBytesMax, buildClient, bundle } from "../../scripts/build-client.ts";
import type { RoomPin } from "../../src/client/trust/state.ts";
import { sha256Hex } from "../../src/wire/encoding.ts";
import { newUlid } from "../../src/wire/ulid.ts";
import type { Given, offered as Offered, Use } from "../support/browser-page.ts";
import { startChromium } from "../support/chromium.ts";
import { Folder } from "../support/executable.ts";
import { oddSignaturesOf } from "../support/odd-signatures.ts";
import { allVectors, vectors } from "../support/vectors.ts";

declare const offered: typeof Offered;

const html = '<!doctype html><title>unibus</title><script type="module" src="/page.js"></script>';
/** The strictest policy that lets a page load its own script: no `eval`, no WebAssembly, nothing inline. */
const policy = "default-src 'none'; script-src 'self'";
let folder: Folder;
let origin: Bun.Server<undefined>;
let browser: Browser;
let page: Page;

beforeAll(async () => {
  folder = new Folder();
  const entry = join("test", "support", "browser-page.ts");
  const file = await bundle({ entry, platform: "browser", folder: folder.path, name: "page" });
  const pages = {
    "/page.js": new Response(Bun.file(file)),
    "/": new Response(html, { headers: { "content-type": "text/html", "content-security-policy": policy } }),
  };
  origin = Bun.serve({ hostname: "127.0.0.1", port: 0, routes: pages });
  browser = await startChromium();
  page = await browser.newPage();
  await open();
}, 120_000);
afterAll(async () => {
  await browser?.close();
  await origin?.stop(true);
  folder[Symbol.dispose]();
}, 30_000);

/** Opens a new page, as after a restart of the browser. */
async function open(): Promise<void> {
  await page.goto(`http://127.0.0.1:${origin.port}/`);
  await page.waitForSelector("html[data-ready]", { state: "attached" });
}

const use = (one: Use): Promise<Given> => page.evaluate((given) => offered.use(given), one);

test("the vectors are the same in a browser", async () => {
  expect(await page.evaluate(() => offered.computeVectors())).toEqual(allVectors as never);
});

test("signatures are judged as by OpenSSL, by WebCrypto and without it", async () => {
  const odd = oddSignaturesOf();
  const given = odd.map(({ signPub, text, sig }) => ({ signPub, text, sig: [...sig] }));
  const wanted = odd.map(({ holds }) => holds);
  expect(await page.evaluate((list) => offered.judge(list), given)).toEqual(wanted);
  // A page that was loaded again has no imported keys.
  await open();
  await page.evaluate(() => offered.forgetCurves());
  expect(await page.evaluate((list) => offered.judge(list), given)).toEqual(wanted);
  expect(await page.evaluate(() => offered.computeVectors())).toEqual(allVectors as never);
  await open();
});

describe("an identity that a browser keeps", () => {
  const create = (name: string, words?: string) =>
    page.evaluate(([one, from]) => offered.identities.create(one, from), [name, words] as const);
  const opened = (name: string) => page.evaluate((one) => offered.identities.open(one), name);
  const works = { opens: true, signs: true };

  test("does not reveal its private keys, and is there when the page is loaded again", async () => {
    const name = newUlid();
    expect(await opened(name)).toBeNull();
    const made = await create(name);
    expect(made).toMatchObject({ ...works, isExtractable: false, secrets: "invalid" });
    await open();
    expect(await opened(name)).toEqual(made);
    expect(await page.evaluate((one) => offered.identities.codeOfCreate(one), name)).toBe("conflict");
    expect(await opened(name)).toEqual(made);
    await page.evaluate((one) => offered.identities.delete(one), name);
    expect(await opened(name)).toBeNull();
  });

  test("can be that of twelve words", async () => {
    const name = newUlid();
    const { words, endpoint_id: endpoint, kex_pub: kexPubHex } = vectors.wallet;
    expect(await create(name, words)).toMatchObject({ ...works, endpoint, kexPubHex, isExtractable: false });
    expect(await opened(name)).toMatchObject({ ...works, endpoint, kexPubHex, isExtractable: false });
  });

  test("in a browser without Ed25519 and X25519 is encrypted, and its private keys can be read", async () => {
    const name = newUlid();
    await page.evaluate(() => offered.forgetCurves());
    const made = await create(name);
    expect(made).toMatchObject({ ...works, isExtractable: true, secrets: null });
    await open();
    expect(await opened(name)).toEqual(made);
  });

  test("is never replaced by another one when it is damaged", async () => {
    const name = newUlid();
    for (const bad of [null, "x", {}, { form: "native" }, { form: "sealed", seeds: new Uint8Array(64) }]) {
      await page.evaluate(([key, value]) => offered.spoil("unibus-identities", "identities", key, value), [
        name,
        bad,
      ] as const);
      expect(await page.evaluate((one) => offered.identities.codeOfOpen(one), name)).toBe("invalid");
      expect(await page.evaluate((one) => offered.identities.codeOfCreate(one), name)).toBe("conflict");
    }
  });
});

const ana = sha256Hex("ana");
const bob = sha256Hex("bob");
const pin = (version: number, more: Partial<RoomPin> = {}): RoomPin => ({
  ...{ version, hash: sha256Hex(`text ${version}`), epoch: 1, owners: [ana], firstOwners: [ana] },
  ...more,
});

describe.each([
  ["in memory", undefined],
  ["in IndexedDB", "unibus-test"],
])("a state %s", (_, name) => {
  const of = name === undefined ? {} : { folder: name };
  const room = (id: string) => use({ ...of, call: "room", with: [id] });
  const save = (id: string, given: RoomPin) => use({ ...of, call: "saveRoom", with: [id, given] });

  test("returns the newest version of a room, and its first one", async () => {
    const [id, other] = [newUlid(), newUlid()];
    expect(await room(id)).toEqual({ value: null });
    expect(await save(id, pin(3))).toEqual({ value: pin(3) });
    const later = pin(12, { owners: [bob], firstOwners: [bob], epoch: 4 });
    const kept = { value: { ...later, firstOwners: [ana] } };
    for (const one of [later, pin(9), later]) expect(await save(id, one)).toEqual(kept);
    expect([await room(id), await room(other)]).toEqual([kept, { value: null }]);
  });

  test("rejects a second text for a version, in either order", async () => {
    const id = newUlid();
    const texts = Array.from({ length: 8 }, (_, index) => pin(3, { hash: sha256Hex(`text ${index}`) }));
    const given = await Promise.all(texts.map((text) => save(id, text)));
    expect(given.filter((one) => "value" in one)).toHaveLength(1);
    expect(given.filter((one) => "code" in one && one.code === "room_forked")).toHaveLength(7);
    expect(await room(id)).toEqual(given.find((one) => "value" in one) as Given);
  });

  test("keeps the first endpoint of a handle, for each server, until another one is approved", async () => {
    const handle = (call: Use["call"], endpoint?: string, bus = "https://one.example.org") =>
      use({ ...of, bus, call, with: endpoint === undefined ? ["ana"] : ["ana", endpoint] });
    expect(await handle("handle")).toEqual({ value: null });
    expect([await handle("pinHandle", "one"), await handle("pinHandle", "two")]).toEqual([
      { value: "one" },
      { value: "one" },
    ]);
    await handle("repinHandle", "three");
    expect(await handle("handle")).toEqual({ value: "three" });
    expect(await handle("handle", undefined, "https://two.example.org")).toEqual({ value: null });
  });
});

describe("a state in IndexedDB", () => {
  test("survives reloading the page", async () => {
    const id = newUlid();
    const of = { folder: `unibus-${newUlid()}` };
    await use({ ...of, call: "saveRoom", with: [id, pin(5)] });
    await open();
    expect(await use({ ...of, call: "room", with: [id] })).toEqual({ value: pin(5) });
    expect(await page.evaluate(() => offered.names())).toContain(of.folder);
  });

  test("reports damage, and is not replaced", async () => {
    const id = newUlid();
    const of = { folder: `unibus-${newUlid()}` };
    await use({ ...of, call: "saveRoom", with: [id, pin(5)] });
    await use({ ...of, bus: "b", call: "pinHandle", with: ["ana", "x"] });
    for (const bad of [null, "{", 7, { ...pin(5), owners: [] }]) {
      await page.evaluate(([name, key, value]) => offered.spoil(name, "rooms", key, value), [
        of.folder,
        id,
        bad,
      ] as const);
      for (const call of ["room", "saveRoom"] as const) {
        expect(await use({ ...of, call, with: [id, pin(6)] })).toEqual({ code: "invalid" });
      }
    }
    await page.evaluate((name) => offered.spoil(name, "handles", ["b", "ana"], 7), of.folder);
    for (const call of ["handle", "pinHandle"] as const) {
      expect(await use({ ...of, bus: "b", call, with: ["ana", "y"] })).toEqual({ code: "invalid" });
    }
  });
});

test("a page needs no permission for eval or WebAssembly", async () => {
  expect(await page.evaluate(() => offered.violations())).toEqual([]);
  expect(await page.evaluate(() => offered.runsWebAssembly())).toBe(false);
});

test("the bundle for browsers has no imports, uses no Node API, and is small", async () => {
  using out = new Folder();
  const built = await buildClient(out.path, { hasTypes: false });
  const text = readFileSync(out.file("client", "browser.js"), "utf8");
  const imports = new Bun.Transpiler({ loader: "js" }).scanImports(text);
  expect(imports.filter(({ kind }) => kind === "import-statement")).toEqual([]);
  expect(text.match(/WebAssembly|libsodium/g)).toBeNull();
  const asks = text.matchAll(/\b(?:require|import)\s*\(\s*["'`][^"'`]*["'`]/g);
  expect([...asks].map(([ask]) => ask)).toEqual([]);
  const browserJs = built.find(({ file }) => file === join("client", "browser.js"));
  expect(browserJs?.gzipBytes).toBeLessThan(browserBytesMax);
}, 30_000);
