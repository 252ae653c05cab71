/**
 * Two servers on one HTTP port: the kernel would distribute requests between them, and a local attacker could receive
 * some of them. The second server must be refused, even if it asks to share the port.
 * Source: docs/protocol/requests.md, docs/threat-model.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { refusal } from "../e2e/refusal.ts";
import { Authority, type CertificateFiles } from "../support/certificates.ts";
import { Folder, Server, until } from "../support/executable.ts";

let authority: Authority;
let files: CertificateFiles;
beforeAll(() => {
  authority = new Authority();
  files = authority.issue("one");
});
afterAll(() => authority[Symbol.dispose]());

const tlsArgs = () => ["--tls-cert", files.cert, "--tls-key", files.key];

const python = `
import socket, sys
port, share = int(sys.argv[1]), sys.argv[2] == "share"
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if share:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
try:
    s.bind(("127.0.0.1", port))
    s.listen()
    print(s.getsockname()[1], flush=True)
    sys.stdin.read()
except OSError as error:
    print(error.strerror, flush=True)
`;

/** A listener of another program: holds the port that it got, or the error. Lives until the scope ends. */
class Other implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #said: Promise<string>;
  readonly #ended: Promise<unknown>;

  constructor(port: number, share: boolean) {
    const args = ["-c", python, String(port), share ? "share" : "alone"];
    const child = spawn("python3", args, { stdio: ["pipe", "pipe", "inherit"] });
    this.#child = child;
    this.#said = once(child.stdout, "data").then(([bytes]) => String(bytes).trim());
    this.#ended = once(child, "exit");
  }

  said(): Promise<string> {
    return this.#said;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#ended;
  }
}

/** What two other programs print that bind the server's port, one alone and one with port sharing. */
async function refusals(server: Server): Promise<string[]> {
  const port = Number(new URL(server.ready.http).port);
  await using alone = new Other(port, false);
  await using sharing = new Other(port, true);
  return [await alone.said(), await sharing.said()];
}

const inUse = "Address already in use";

describe.each(["http", "https"])("over %s", (scheme) => {
  const more = () => (scheme === "https" ? tlsArgs() : []);

  test("a second server is refused, and the first answers every request", async () => {
    await using server = await Server.start({ args: more() });
    using folder = new Folder();
    const { host } = new URL(server.ready.http);
    expect(await refusal(folder, ["--http", host, ...more()])).toBe(
      `error: http.listen ${host}: the address is in use (choose another with --http HOST:PORT)`,
    );
    expect(await refusals(server)).toEqual([inUse, inUse]);
  }, 30_000);

  test("two that start at the same time: one serves, the other is refused", async () => {
    const free = await (async () => {
      await using other = new Other(0, false);
      return await other.said();
    })();
    const args = ["--http", `127.0.0.1:${free}`, ...more()];
    const starts = await Promise.allSettled([Server.start({ args }), Server.start({ args })]);
    const served = starts.flatMap((start) => (start.status === "fulfilled" ? [start.value] : []));
    const refused = starts.flatMap((start) => (start.status === "rejected" ? [String(start.reason)] : []));
    for (const server of served) await server[Symbol.asyncDispose]();
    expect([served.length, refused]).toEqual([1, [expect.stringContaining("the address is in use")]]);
  }, 30_000);
});

test.each([
  ["--http", "http.listen"],
  ["--nats", "nats-embedded.listen"],
  ["--ws", "nats-embedded.ws"],
])(
  "%s: a port that another program shares with SO_REUSEPORT is refused all the same, with TLS and without",
  async (option, setting) => {
    await using other = new Other(0, true);
    const address = `127.0.0.1:${await other.said()}`;
    for (const more of [[], tlsArgs()]) {
      using folder = new Folder();
      expect(await refusal(folder, [option, address, ...more])).toBe(
        `error: ${setting} ${address}: the address is in use (choose another with ${option} HOST:PORT)`,
      );
    }
  },
  30_000,
);

/** Counts the sockets that listen on a server's port. */
function listeners(server: Server): number {
  const port = Number(new URL(server.ready.http).port).toString(16).toUpperCase().padStart(4, "0");
  const rows = readFileSync("/proc/net/tcp", "utf8").split("\n");
  return rows.filter((row) => row.trim().split(/\s+/)[1]?.endsWith(`:${port}`) && / 0A /.test(row)).length;
}

test("after a certificate renewal a second server is refused as before", async () => {
  await using server = await Server.start({ args: tlsArgs() });
  const { host } = new URL(server.ready.http);
  for (let renewal = 0; renewal < 3; renewal++) {
    process.kill(server.pid, "SIGHUP");
    await until("the listener with the next certificate exists, too", () => listeners(server) === 2);
    await until("the previous listener is closed", () => listeners(server) === 1);
  }
  const [alone] = await refusals(server);
  expect(alone).toBe(inUse);
  for (const more of [[], tlsArgs()]) {
    using folder = new Folder();
    expect(await refusal(folder, ["--http", host, ...more])).toBe(
      `error: http.listen ${host}: the address is in use (choose another with --http HOST:PORT)`,
    );
  }
  const reply = await fetch(`${server.ready.http}/healthz`, { tls: { ca: await Bun.file(authority.file).text() } });
  expect(reply.status).toBe(200);
}, 30_000);
