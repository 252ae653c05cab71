/** The development auth modes must not relax the admin routes or the data plane. Source: docs/protocol/requests.md. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { generateIdentity } from "../../src/client/crypto/identity.ts";
import type { RouteSpec } from "../../src/wire/route.ts";
import { routes } from "../../src/wire/routes.ts";
import { signatureHeaders } from "../../src/wire/sign.ts";
import { Folder, Server, unibus } from "../support/executable.ts";
import { type Cast, castOf } from "../support/inside.ts";
import { call, createRoom, policy, send } from "../support/peer.ts";
import { loginOf, RawNats } from "../support/raw-nats.ts";

describe.each(["off", "soft"])("auth.mode=%s", (mode) => {
  let server: Server;
  let people: Cast<"ana">;

  beforeAll(async () => {
    server = await Server.start({ args: ["--set", `auth.mode=${mode}`, "--set", "http.rate=100000"] });
    people = await castOf(server, "ana");
  });
  afterAll(() => server[Symbol.asyncDispose]());

  const named = (pub: string, method: string, target: string, body?: unknown) =>
    send(`${server.ready.http}${target}`, {
      method,
      headers: { [signatureHeaders.pub]: pub },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });

  test("opens no admin route to a caller who only claims to be an admin", async () => {
    const { admin, ana } = people;
    const user = { sign_pub: (await generateIdentity()).signPubHex, handle: "x", role: "admin" };
    expect((await named(admin.signPubHex, "POST", "/users", user)).status).toBe(401);
    const specs: RouteSpec[] = Object.values(routes).flatMap((group) => Object.values(group));
    const forAdmins = specs.filter(({ access }) => access === "admin");
    expect(forAdmins.length).toBeGreaterThan(12);
    for (const { method, path } of forAdmins) {
      const target = path.replace(":sign_pub", ana.signPubHex).replace(/:\w+/, "x");
      const replies = [
        await named(admin.signPubHex, method, target),
        await send(server.ready.http + target, { method }),
      ];
      const denied = [401, "unauthenticated"];
      expect([path, ...replies.map(({ status, json }) => [status, json.code])]).toEqual([path, denied, denied]);
    }
    expect((await call(server.ready.http, ana, "GET", "/directory")).status).toBe(200);
    expect((await call(server.ready.http, admin, "GET", "/users")).status).toBe(200);
  });

  test("lets a caller act as the claimed user only", async () => {
    const { ana } = people;
    const room = await createRoom(server, ana, policy());
    const target = `/rooms/${room.state.roomId}`;
    expect((await named(ana.signPubHex, "GET", target)).status).toBe(200);
    expect((await named(people.admin.signPubHex, "GET", target)).status).toBe(403);
    expect((await named((await generateIdentity()).signPubHex, "GET", target)).status).toBe(401);
    expect((await named("x", "GET", target)).status).toBe(401);
    expect((await send(`${server.ready.http}${target}`)).status).toBe(401);
  });

  test("does not open the data plane", async () => {
    using raw = await RawNats.open(server.ready.nats);
    const refusal = await raw.login({ nkey: people.ana.nkey, sig: Buffer.alloc(64).toString("base64url") });
    expect(refusal).toBe("Authorization Violation");
    using fine = await RawNats.open(server.ready.nats);
    expect(await fine.login(loginOf(people.ana, fine))).toBe("");
  });
});

test("neither mode is allowed on an address that others can reach", async () => {
  using folder = new Folder();
  for (const mode of ["off", "soft"]) {
    const listen = ["--http", "0.0.0.0:0", "--nats", "127.0.0.1:0", "--ws", "127.0.0.1:0"];
    const settings = ["--set", `auth.mode=${mode}`, "--set", "http.allow_cleartext=true"];
    const done = await unibus(folder, ["serve", "--data", folder.file("data"), ...listen, ...settings]);
    expect([done.code, done.stdout]).toEqual([1, ""]);
    expect(done.stderr).toContain("auth.mode");
  }
});
