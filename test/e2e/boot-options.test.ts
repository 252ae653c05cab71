/**
 * Options of `serve`: command line against environment, the default configuration file, `--set` values, and
 * `auth.mode` (enforce, soft, off) with what each mode lets through.
 */
import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { executable, Folder, type Ready, Server, unibus, until } from "../support/executable.ts";
import { addUser, send, signedHeaders } from "../support/peer.ts";

const health = async (server: { readonly ready: Ready }) => (await send(`${server.ready.http}/healthz`)).json;
const plugins = JSON.stringify({
  flags: { big: false, odd: true },
  plugins: ["nats-embedded", "store-sqlite", "room-streams", "auth", "auth-callout", "users", "rooms"].map((use) => ({
    use,
  })),
});

describe("serve is configured by options or by the environment:", () => {
  test("every option has its variable", async () => {
    using folder = new Folder();
    writeFileSync(folder.file("own.json"), plugins);
    const env = {
      PATH: process.env.PATH ?? "",
      UNIBUS_DATA: folder.file("elsewhere"),
      UNIBUS_HTTP: "127.0.0.2:0",
      UNIBUS_NATS: "127.0.0.3:0",
      UNIBUS_WS: "127.0.0.4:0",
      UNIBUS_PLUGINS: folder.file("own.json"),
      UNIBUS_FLAGS: " big=on, odd=off,",
      UNIBUS_SET: 'auth.mode=soft\n\nnats-embedded.namespaces=["team"]\n',
      UNIBUS_PUBLIC_URL: "https://bus.example.org/",
      UNIBUS_LOG: "text",
    };
    const child = Bun.spawn([executable, "serve"], { cwd: folder.path, env, stdout: "pipe", stderr: "pipe" });
    const file = folder.file("elsewhere", "ready.json");
    await until("ready.json exists", () => child.exitCode !== null || existsSync(file));
    const ready = JSON.parse(readFileSync(file, "utf8")) as Ready;
    expect(ready.http).toStartWith("http://127.0.0.2:");
    expect(ready.nats).toStartWith("nats://127.0.0.3:");
    expect(ready.ws).toStartWith("ws://127.0.0.4:");
    expect(await health({ ready })).toMatchObject({ flags: { big: true, odd: false }, posture: { auth: "soft" } });
    const info = (await send(`${ready.http}/info`)).json;
    expect(info.namespaces).toContain("team");
    child.kill("SIGTERM");
    expect(await child.exited).toBe(0);
    const said = await new Response(child.stderr).text();
    expect(said).toContain("stopping");
    expect(said).not.toMatch(/^\{"level"/m);
    expect(readdirSync(folder.path).sort()).toEqual(["elsewhere", "own.json"]);
  }, 30_000);

  test("an option overrides its variable, and a setting on the command line one in the environment", async () => {
    using folder = new Folder();
    writeFileSync(folder.file("own.json"), plugins);
    await using server = await Server.start({
      folder,
      args: [
        "--plugins",
        "own.json",
        "--flag",
        "odd=on",
        "--flag",
        "big=on",
        "--set",
        "auth.mode=enforce",
        "--log",
        "json",
      ],
      env: {
        UNIBUS_DATA: folder.file("not-here"),
        UNIBUS_HTTP: "nonsense",
        UNIBUS_PLUGINS: "gone.json",
        UNIBUS_FLAGS: "odd=off",
        UNIBUS_SET: "auth.mode=off",
        UNIBUS_LOG: "text",
      },
    });
    expect(await health(server)).toMatchObject({ flags: { big: true, odd: true }, posture: { auth: "enforce" } });
    expect(existsSync(folder.file("not-here"))).toBe(false);
  }, 30_000);

  test("plugins.json in the data directory is the default configuration", async () => {
    using folder = new Folder();
    await using first = await Server.start({ folder });
    await first.end();
    writeFileSync(folder.file("data", "plugins.json"), plugins);
    await using second = await Server.start({ folder, args: ["--flag", "big=on"] });
    expect(await health(second)).toMatchObject({ flags: { big: true, odd: true } });
  }, 30_000);

  test("a value of --set is JSON, or else a string; the last one applies", async () => {
    const set = (text: string) => ["--set", text];
    await using server = await Server.start({
      args: [
        ...set('http.cors_origins=["https://a.example"]'),
        ...set("http.cors_origins=[]"),
        ...set('http.cors_origins=["https://chat.example.org"]'),
        ...set("nats-embedded.durability=disk"),
        ...set('auth.mode="enforce"'),
        ...set("http.rate=1000.5"),
        ...set("auth.stock_clients=false"),
      ],
    });
    expect(await health(server)).toMatchObject({ posture: { durability: "disk", auth: "enforce" } });
    const origin = (of: string) => send(`${server.ready.http}/healthz`, { headers: { origin: of } });
    const allowed = "access-control-allow-origin";
    expect((await origin("https://chat.example.org")).headers.get(allowed)).toBe("https://chat.example.org");
    expect((await origin("https://a.example")).headers.get(allowed)).toBeNull();
  }, 30_000);

  test("a string is not converted to a number: the error states the expected type", async () => {
    using folder = new Folder();
    const done = await unibus(folder, ["plan", "--data", "data", "--set", "http.rate=fast"]);
    const message = "error: built-in plugins.json, http: rate: expected number (requests per second for each client)\n";
    expect([done.code, done.stderr]).toEqual([1, message]);
  });
});

describe("auth.mode on loopback", () => {
  const modes = [
    ["soft", 200],
    ["off", 200],
    ["enforce", 401],
  ] as const;
  test.each(modes)(
    "%s: a request without a signature acts as the user that it names: %d",
    async (mode, named) => {
      await using server = await Server.start({ args: ["--set", `auth.mode=${mode}`] });
      const root = await addUser(server, "root", { admin: true });
      const ana = await addUser(server, "ana");
      const url = server.ready.http;
      const as = (pub: string, path: string, init: RequestInit = {}) =>
        send(`${url}${path}`, { ...init, headers: { "x-unibus-pub": pub } });
      const rooms = `/members/${ana.endpoint}/rooms`;
      expect((await health(server)).posture).toMatchObject({ auth: mode });

      expect((await as(ana.signPubHex, "/directory")).status).toBe(named);
      expect((await as(ana.signPubHex.toUpperCase(), rooms)).status).toBe(named);
      // The identity counts even without a signature: users cannot list the rooms of others.
      expect((await as(root.signPubHex, rooms)).status).toBe(mode === "enforce" ? 401 : 403);
      expect((await send(`${url}/directory`)).status).toBe(401);
      for (const unknown of ["0".repeat(64), "garbage", ""]) expect((await as(unknown, "/directory")).status).toBe(401);

      // A signature is still checked if one is present.
      const target = { url, method: "GET", target: rooms };
      expect((await send(`${url}${rooms}`, { headers: signedHeaders(ana, target) })).status).toBe(200);
      expect((await send(`${url}${rooms}`, { headers: signedHeaders(root, target) })).status).toBe(403);

      // No mode relaxes admin routes.
      const body = JSON.stringify({ sign_pub: ana.signPubHex, handle: "x", role: "admin" });
      expect((await as(root.signPubHex, "/users")).status).toBe(401);
      expect((await as(root.signPubHex, "/users", { method: "POST", body })).status).toBe(401);
      expect((await as(root.signPubHex, `/users/${ana.signPubHex}`, { method: "DELETE" })).status).toBe(401);
      const signed = signedHeaders(root, { url, method: "GET", target: "/users" });
      expect((await send(`${url}/users`, { headers: signed })).status).toBe(200);
    },
    30_000,
  );

  test.each(["soft", "off"])(
    "%s: the promised hash of a body is checked all the same",
    async (mode) => {
      await using server = await Server.start({ args: ["--set", `auth.mode=${mode}`] });
      const ana = await addUser(server, "ana");
      const headers = { "x-unibus-pub": ana.signPubHex, "x-unibus-body": "0".repeat(64) };
      const reply = await send(`${server.ready.http}/rooms`, { method: "POST", headers, body: "{}" });
      expect([reply.status, reply.json.error]).toEqual([400, expect.stringContaining("X-Unibus-Body")]);
    },
    30_000,
  );

  test("soft logs the requests that it let through, off does not", async () => {
    for (const mode of ["soft", "off"]) {
      await using server = await Server.start({ args: ["--set", `auth.mode=${mode}`] });
      const ana = await addUser(server, "ana");
      await send(`${server.ready.http}/directory`, { headers: { "x-unibus-pub": ana.signPubHex } });
      await server.end();
      const { stderr } = await server.output();
      expect([mode, stderr.includes("allowed a request without a valid signature")]).toEqual([mode, mode === "soft"]);
    }
  }, 30_000);
});
