/**
 * One port and one certificate: a bus behind nginx, and behind Caddy, whose clients have nothing else. Source: spec
 * 17.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { adminLink } from "../support/accounts.ts";
import { Authority } from "../support/certificates.ts";
import { Running } from "../support/cli-peer.ts";
import { type Done, Folder, Server, unibus } from "../support/executable.ts";
import { freePort, ReverseProxy } from "../support/reverse-proxy.ts";

for (const kind of ["nginx", "caddy"] as const) {
  describe(`behind ${kind}`, () => {
    using_(kind);
  });
}

function using_(kind: "nginx" | "caddy"): void {
  const authority = new Authority();
  const stack = new AsyncDisposableStack();
  let url: string;
  let server: Server;

  beforeAll(async () => {
    const port = await freePort();
    url = `https://localhost:${port}`;
    const settings = ["--public-url", url, "--set", 'http.trusted_proxies=["127.0.0.1"]'];
    server = stack.use(await Server.start({ args: settings }));
    const target = new URL(server.ready.http).host;
    stack.use(await ReverseProxy.start(kind, { port, target, certificate: authority.issue("bus") }));
  });
  afterAll(async () => {
    await stack.disposeAsync();
    authority[Symbol.dispose]();
  });

  /** A person with an empty home folder, who trusts the authority. */
  class Person {
    readonly folder = stack.use(new Folder());
    readonly env = { NODE_EXTRA_CA_CERTS: authority.file };

    run(args: readonly string[]): Promise<Done> {
      return unibus(this.folder, args, { env: this.env });
    }

    async ok(...args: string[]): Promise<string> {
      const { code, stdout, stderr } = await this.run(args);
      if (code !== 0) throw new Error(`unibus ${args.join(" ")}: exit ${code}: ${stderr}`);
      return stdout;
    }

    start(...args: string[]): Running {
      const { path } = this.folder;
      const home = { PATH: process.env.PATH ?? "", HOME: path, XDG_CONFIG_HOME: `${path}/.config`, NO_COLOR: "1" };
      return new Running(this.folder, args, { ...home, ...this.env });
    }
  }

  test("GET /info names only what can be reached through it", async () => {
    const reply = await fetch(`${url}/info`, { tls: { ca: await Bun.file(authority.file).text() } });
    const { nats, ws } = (await reply.json()) as { nats: string[]; ws: string[] };
    expect([nats, ws]).toEqual([[], [`${url.replace("https:", "wss:")}/nats`]]);
  });

  test("an admin joins, makes a room, and two people talk, live and from the history", async () => {
    const [ana, bob] = [new Person(), new Person()];
    await ana.ok("join", adminLink(server));
    const link = /https:\S+#[0-9a-f]{64}/.exec(
      await ana.run(["invite", "new", "bob", "--data", server.data]).then(({ stdout }) => stdout),
    )?.[0];
    expect(link).toStartWith(`${url}/join#`);
    await bob.ok("join", link ?? "");
    await ana.ok("room", "new", "room.team");
    await ana.ok("room", "add", "room.team", "bob");
    await using tail = bob.start("tail", "room.team", "--since", "all");
    await ana.ok("send", "room.team", "through one port");
    await tail.until("bob hears it", (lines) => lines.some((line) => line.includes("through one port")));
    await bob.ok("send", "room.team", "and back");
    expect(await ana.ok("history", "room.team")).toContain("and back");
  });
}
