/** Real reverse proxies in front of a bus: nginx and Caddy, with one certificate and one port. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import type { CertificateFiles } from "./certificates.ts";
import { Folder, until } from "./executable.ts";
import { reservable } from "./proxy-ports.ts";

/**
 * Returns a free loopback port, on IPv4 and IPv6, for a program that cannot choose one itself. It is below the
 * ephemeral range, so that no program that listens on port 0 is given it in the meantime.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = reservable.first + Math.floor(Math.random() * reservable.count);
    if ((await isFree(port, "127.0.0.1")) && (await isFree(port, "::1"))) return port;
  }
}

function isFree(port: number, host: string): Promise<boolean> {
  const server = createServer();
  const { promise, resolve } = Promise.withResolvers<boolean>();
  // A machine without IPv6 has every port of it free.
  server.once("error", (error: NodeJS.ErrnoException) => resolve(error.code !== "EADDRINUSE"));
  server.listen(port, host, () => server.close(() => resolve(true)));
  return promise;
}

/** Where a proxy listens and where it forwards requests. */
export interface Place {
  readonly port: number;
  /** `host:port` of the bus. */
  readonly target: string;
  readonly certificate: CertificateFiles;
  /** False makes nginx forward no Upgrade header: a common mistake in configurations written by hand. */
  readonly passesWebSockets?: boolean;
}

/** Returns the recipe of docs/operate.md for a proxy, with a test's addresses and files filled in. */
function recipe(kind: "nginx" | "caddy", changes: readonly (readonly [documented: RegExp, ours: string])[]): string {
  const guide = readFileSync(join(import.meta.dir, "../../docs/operate.md"), "utf8");
  const fence = new RegExp(`^${kind}\\b[^\\n]*:\\n\\n\`\`\`\\n(.*?)\\n\`\`\`$`, "ims").exec(guide)?.[1];
  if (fence === undefined) throw new Error(`docs/operate.md has no recipe for ${kind}`);
  return changes.reduce((text, [documented, ours]) => {
    if (!documented.test(text)) throw new Error(`the recipe for ${kind} has no ${documented}`);
    return text.replace(documented, () => ours);
  }, fence);
}

function nginxConfig(folder: Folder, { port, target, certificate, passesWebSockets = true }: Place): string {
  const temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  const server = recipe("nginx", [
    [/listen 443 ssl;/, `listen 127.0.0.1:${port} ssl;`],
    [/server_name bus\.example\.org;/, "server_name localhost;"],
    [/\/etc\/ssl\/bus\.pem/, certificate.cert],
    [/\/etc\/ssl\/bus\.key/, certificate.key],
    [/127\.0\.0\.1:\d+(?=;)/, target],
    ...(passesWebSockets ? [] : ([[/proxy_set_header Upgrade \$http_upgrade;/, ""]] as const)),
  ]);
  return `
daemon off; pid ${folder.file("nginx.pid")}; error_log stderr warn; worker_processes 1;
events { worker_connections 512; }
http {
access_log off;
${temp.map((name) => `${name}_temp_path ${folder.file(name)};`).join(" ")}
${server}
}
`;
}

function caddyConfig({ port, target, certificate }: Place): string {
  const ours = `https://localhost:${port} {\n  bind 127.0.0.1\n  tls ${certificate.cert} ${certificate.key}`;
  const site = recipe("caddy", [
    [/bus\.example\.org \{/, ours],
    [/127\.0\.0\.1:\d+$/m, target],
  ]);
  return `{\n  admin off\n  auto_https disable_redirects\n}\n${site}\n`;
}

/** A running proxy. Lives until the scope ends. */
export class ReverseProxy implements AsyncDisposable {
  private constructor(
    readonly port: number,
    private readonly child: Bun.Subprocess,
    private readonly folder: Folder,
  ) {}

  /** Starts a proxy and waits until it listens. Errors: if it is not installed, with what to install. */
  static async start(kind: "nginx" | "caddy", place: Place): Promise<ReverseProxy> {
    const binary = ["/usr/sbin", "/usr/bin", "/usr/local/bin"]
      .map((dir) => `${dir}/${kind}`)
      .find((file) => existsSync(file));
    if (binary === undefined) throw new Error(`${kind} is not installed (Debian: apt-get install ${kind})`);
    const folder = new Folder();
    const file = folder.file("config");
    writeFileSync(file, kind === "nginx" ? nginxConfig(folder, place) : caddyConfig(place));
    const args =
      kind === "nginx" ? ["-c", file, "-p", folder.path] : ["run", "--config", file, "--adapter", "caddyfile"];
    const env = {
      PATH: process.env.PATH ?? "",
      HOME: folder.path,
      XDG_DATA_HOME: folder.path,
      XDG_CONFIG_HOME: folder.path,
    };
    const child = Bun.spawn([binary, ...args], {
      env,
      cwd: folder.path,
      stdio: ["ignore", "ignore", Bun.file(folder.file("log"))],
    });
    const proxy = new ReverseProxy(place.port, child, folder);
    const listens = () =>
      Bun.connect({ hostname: "127.0.0.1", port: place.port, socket: { data() {} } }).then(
        (socket) => {
          socket.end();
          return true;
        },
        () => false,
      );
    try {
      await until(`${kind} is listening`, async () => child.exitCode !== null || (await listens()));
      if (child.exitCode !== null) throw new Error(`${kind} ended: ${await Bun.file(folder.file("log")).text()}`);
    } catch (error) {
      await proxy[Symbol.asyncDispose]();
      throw error;
    }
    return proxy;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.child.exitCode === null) this.child.kill("SIGTERM");
    await this.child.exited;
    this.folder[Symbol.dispose]();
  }
}
