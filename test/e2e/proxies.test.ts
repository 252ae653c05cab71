/**
 * A server behind nginx and behind Caddy, configured as docs/operate.md says: one port and one certificate are all that
 * clients see.
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

/** A server behind a proxy, with people that trust its authority. Started before all tests of a `describe`. */
class Site {
  readonly #authority = new Authority();
  readonly #stack = new AsyncDisposableStack();
  readonly env = { NODE_EXTRA_CA_CERTS: this.#authority.file };
  url = "";
  #server: Server | undefined;

  get server(): Server {
    if (this.#server === undefined) throw new Error("not started");
    return this.#server;
  }

  get authority(): string {
    return this.#authority.file;
  }

  async start(kind: "nginx" | "caddy", passesWebSockets = true): Promise<void> {
    const port = await freePort();
    this.url = `https://localhost:${port}`;
    const settings = ["--public-url", this.url, "--set", 'http.trusted_proxies=["127.0.0.1"]'];
    this.#server = this.#stack.use(await Server.start({ args: settings }));
    const target = new URL(this.#server.ready.http).host;
    const certificate = this.#authority.issue("bus");
    this.#stack.use(await ReverseProxy.start(kind, { port, target, certificate, passesWebSockets }));
  }

  async stop(): Promise<void> {
    await this.#stack.disposeAsync();
    this.#authority[Symbol.dispose]();
  }

  person(): Person {
    return new Person(this.#stack.use(new Folder()), this.env);
  }
}

/** A person with an empty home folder. */
class Person {
  constructor(
    readonly folder: Folder,
    readonly env: Readonly<Record<string, string>>,
  ) {}

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

describe("behind an nginx that does not forward WebSockets", () => {
  const site = new Site();
  beforeAll(() => site.start("nginx", false));
  afterAll(() => site.stop());

  test("send and tail name the unreachable address, and the fix", async () => {
    const ana = site.person();
    await ana.ok("join", adminLink(site.server));
    await ana.ok("room", "new", "room.team");
    const address = `${site.url.replace("https:", "wss:")}/nats`;
    const tail = await ana.run(["tail", "room.team"]);
    expect([tail.code, tail.stderr]).toEqual([1, expect.stringContaining(address)]);
    expect(tail.stderr).toContain("(let the reverse proxy forward WebSockets, or try again)");
    await using send = ana.start("send", "room.team", "hello");
    await send.untilNote(address);
  });
});

function using_(kind: "nginx" | "caddy"): void {
  const site = new Site();
  beforeAll(() => site.start(kind));
  afterAll(() => site.stop());

  test("GET /info names only addresses that are reachable through it", async () => {
    const reply = await fetch(`${site.url}/info`, { tls: { ca: await Bun.file(site.authority).text() } });
    const { nats, ws } = (await reply.json()) as { nats: string[]; ws: string[] };
    expect([nats, ws]).toEqual([[], [`${site.url.replace("https:", "wss:")}/nats`]]);
  });

  test("an admin joins, creates a room, and two people talk, live and by history", async () => {
    const [ana, bob] = [site.person(), site.person()];
    await ana.ok("join", adminLink(site.server));
    const link = /https:\S+#[0-9a-f]{64}/.exec(
      await ana.run(["invite", "new", "bob", "--data", site.server.data]).then(({ stdout }) => stdout),
    )?.[0];
    expect(link).toStartWith(`${site.url}/join#`);
    await bob.ok("join", link ?? "");
    await ana.ok("room", "new", "room.team");
    await ana.ok("room", "add", "room.team", "bob");
    await using tail = bob.start("tail", "room.team", "--since", "all");
    await ana.ok("send", "room.team", "through one port");
    await tail.until("bob receives it", (lines) => lines.some((line) => line.includes("through one port")));
    await bob.ok("send", "room.team", "and back");
    expect(await ana.ok("history", "room.team")).toContain("and back");
  });
}
