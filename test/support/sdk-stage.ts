/** The stage of the client's test suite: the compiled executable, and the props that the suite requests over HTTP. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { type Identity, identityText } from "../../src/client/crypto/identity.ts";
import { Folder, isAlive, Server, until } from "./executable.ts";
import { addUser, postKeys, postUser } from "./peer.ts";

/** Files that a page may load, by their path on this origin. */
export type Pages = Readonly<Record<`/${string}`, { readonly file: string } | { readonly html: string }>>;

/** The policy of a careful site: no `eval`, no WebAssembly. An inline script has the nonce `sdk`. */
const policy = "default-src 'none'; connect-src *; script-src 'self' 'nonce-sdk'";

/** A bus with its props and, for a browser, pages of an origin that the bus allows. Lives until the scope ends. */
export class SdkStage implements AsyncDisposable {
  readonly folder = new Folder();
  readonly #listener: Bun.Server<undefined>;
  #bus: { readonly server: Server; readonly admin: Identity } | null = null;

  private constructor(private readonly pages: Pages) {
    this.#listener = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      idleTimeout: 60,
      fetch: (request) => this.#answer(request),
    });
  }

  /** Starts a stage. Pages are served from the beginning. */
  static async start(pages: (folder: Folder) => Promise<Pages> | Pages = () => ({})): Promise<SdkStage> {
    const made: Record<string, Pages[`/${string}`]> = {};
    const stage = new SdkStage(made);
    try {
      Object.assign(made, await pages(stage.folder));
      const origins = JSON.stringify([stage.url]);
      const args = ["http.rate=100000", `http.cors_origins=${origins}`, `nats-embedded.ws_origins=${origins}`];
      const server = await Server.start({ args: args.flatMap((setting) => ["--set", setting]) });
      const admin = await addUser(server, "root", { admin: true });
      stage.#bus = { server, admin };
      return stage;
    } catch (error) {
      await stage[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The origin of the props and pages. */
  get url(): string {
    return `http://127.0.0.1:${this.#listener.port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#listener.stop(true);
    await this.#bus?.server[Symbol.asyncDispose]();
    this.folder[Symbol.dispose]();
  }

  async #answer(request: Request): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url);
    const headers = { "content-type": "text/html; charset=utf-8", "content-security-policy": policy };
    try {
      if (request.method === "POST") return new Response(await this.#prop(pathname, searchParams));
      const page = this.pages[pathname as `/${string}`];
      if (page === undefined) return new Response("no such page", { status: 404 });
      if ("html" in page) return new Response(page.html, { headers });
      if (!existsSync(page.file)) throw new Error(`${page.file} is missing`);
      return new Response(Bun.file(page.file));
    } catch (error) {
      return new Response(String(error), { status: 500 });
    }
  }

  async #prop(path: string, search: URLSearchParams): Promise<string> {
    if (this.#bus === null) throw new Error("the server is not running yet");
    const { server, admin } = this.#bus;
    if (path === "/stage/url") return server.ready.http;
    if (path === "/stage/user") return identityText(await postUser(server, admin, search.get("handle") ?? ""));
    if (path === "/stage/keys") {
      const [signPubHex = "", kexPubHex = "", kexSig = ""] = search.getAll("key");
      await postKeys(server, admin, search.get("handle") ?? "", { signPubHex, kexPubHex, kexSig });
      return "";
    }
    if (path === "/stage/kill-nats") return this.#killNats(server);
    throw new Error(`no prop ${path}`);
  }

  /** Kills nats-server. It may be restarting at the moment: waits until its pid file names a live process. */
  async #killNats(server: Server): Promise<string> {
    const file = Bun.file(join(server.data, "nats", "nats.pid"));
    let pid = 0;
    await until("nats-server runs", async () => {
      pid = Number(await file.text());
      return pid > 1 && isAlive(pid);
    });
    process.kill(pid, "SIGKILL");
    await until("nats-server is dead", () => !isAlive(pid));
    return "";
  }
}
