/**
 * A refusal sent before the body is read must reach the client, even one that writes its whole request before it
 * reads, over HTTP and HTTPS. To achieve this the server reads and discards a bounded part of the body.
 * Source: docs/protocol/requests.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { connect, type Socket } from "node:net";
import { Authority } from "../support/certificates.ts";
import { Server, until } from "../support/executable.ts";
import { nodePath } from "../support/node-run.ts";
import { isSoak } from "../support/soak.ts";

const mebibyte = 1_048_576;

let authority: Authority;
const servers: Record<string, Server> = {};

beforeAll(async () => {
  authority = new Authority();
  const { cert, key } = authority.issue("one");
  const rate = ["--set", "http.rate=100000"];
  [servers.http, servers.https] = await Promise.all([
    Server.start({ args: rate }),
    Server.start({ args: [...rate, "--tls-cert", cert, "--tls-key", key] }),
  ]);
});
afterAll(async () => {
  await Promise.all(Object.values(servers).map((server) => server[Symbol.asyncDispose]()));
  authority[Symbol.dispose]();
});

const serverOf = (scheme: string): Server => {
  const server = servers[scheme];
  if (server === undefined) throw new Error(`no server for ${scheme}`);
  return server;
};

/** Number of requests of each client: `npm run soak -- refused-bodies` sends as many as the faults were found with. */
const [many, few] = isSoak("refused-bodies") ? [100, 20] : [30, 5];

/** How many clients saw each status or error. */
type Seen = Readonly<Record<string, number>>;

const python = `
import http.client, json, ssl, sys, urllib.parse
url, count, size, ca = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
at = urllib.parse.urlsplit(url)
seen = {}
for _ in range(count):
    try:
        if at.scheme == "https":
            client = http.client.HTTPSConnection(at.hostname, at.port, timeout=20, context=ssl.create_default_context(cafile=ca))
        else:
            client = http.client.HTTPConnection(at.hostname, at.port, timeout=20)
        client.request("POST", at.path, body=b"x" * size)
        reply = client.getresponse()
        key = f"{reply.status} {json.loads(reply.read())['code']}"
        client.close()
    except Exception as error:
        key = type(error).__name__
    seen[key] = seen.get(key, 0) + 1
print(json.dumps(seen))
`;

const node = `
const [url, count, size] = process.argv.slice(1);
const seen = {};
for (let i = 0; i < Number(count); i++) {
  let key;
  try {
    const reply = await fetch(url, { method: "POST", body: Buffer.alloc(Number(size), "x") });
    key = reply.status + " " + (await reply.json()).code;
  } catch (error) {
    key = String(error.cause?.code ?? error.cause ?? error);
  }
  seen[key] = (seen[key] ?? 0) + 1;
}
console.log(JSON.stringify(seen));
`;

const curl = `
url=$1 count=$2 size=$3 ca=$4
for _ in $(seq "$count"); do
  head -c "$size" /dev/zero | curl --silent --max-time 20 --cacert "$ca" --data-binary @- --write-out ' %{http_code}\\n' "$url" || echo " curl $?"
done | sed -n 's/.*"code":"\\([a-z_]*\\)"} \\([0-9]*\\)$/\\2 \\1/p; t; p' | sort | uniq -c | awk '
  BEGIN { printf "{" } { printf "%s\\"%s %s\\":%s", sep, $2, $3, $1; sep = "," } END { print "}" }'
`;

const clients: Readonly<Record<string, () => string[]>> = {
  "Python http.client": () => [Bun.which("python3") ?? "python3", "-c", python],
  "fetch of Node": () => [nodePath(), "--input-type=module", "-e", node],
  curl: () => ["sh", "-c", curl, "curl"],
};

async function seenBy(client: string, url: string, count: number, size: number): Promise<Seen> {
  const command = [...(clients[client]?.() ?? []), url, String(count), String(size), authority.file];
  const env = { PATH: process.env.PATH ?? "", HOME: process.env.HOME ?? "", NODE_EXTRA_CA_CERTS: authority.file };
  const child = Bun.spawn(command, { env, stdout: "pipe", stderr: "pipe" });
  const [out, errors] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  if ((await child.exited) !== 0) throw new Error(`${client}: ${errors}`);
  return JSON.parse(out) as Seen;
}

describe.each(["http", "https"])("over %s", (scheme) => {
  test.each([
    ["Python http.client", many, "/rooms", mebibyte + 1, "413 too_large"],
    ["Python http.client", many, "/rooms", 100_000, "401 unauthenticated"],
    ["Python http.client", many, "/nowhere", mebibyte, "404 not_found"],
    ["fetch of Node", many, "/rooms", 8_000_000, "413 too_large"],
    ["fetch of Node", many, "/rooms", 100_000, "401 unauthenticated"],
    ["fetch of Node", many, "/healthz", mebibyte, "405 method_not_allowed"],
    ["curl", few, "/blobs", 16 * mebibyte + 1, "413 too_large"],
    ["curl", few, "/rooms", 100_000, "401 unauthenticated"],
  ] as const)(
    "%s receives its error, %i times: POST %s of %i bytes: %s",
    async (client, count, path, size, outcome) => {
      expect(await seenBy(client, serverOf(scheme).ready.http + path, count, size)).toEqual({ [outcome]: count });
    },
    120_000,
  );
});

/** A connection that sends the head of a refused request; records what it received and how long it lived. */
class Refused implements Disposable {
  readonly socket: Socket;
  reply = "";
  readonly #began = performance.now();
  /** Resolves when the server has closed the connection, with its age in milliseconds. */
  readonly closed: Promise<number>;

  constructor(length: number) {
    const { hostname, port } = new URL(serverOf("http").ready.http);
    this.socket = connect(Number(port), hostname);
    this.socket.on("data", (bytes) => {
      this.reply += bytes.toString();
    });
    this.socket.on("error", () => undefined);
    this.closed = new Promise((resolve) => {
      this.socket.on("close", () => resolve(performance.now() - this.#began));
    });
    this.socket.write(`POST /rooms HTTP/1.1\r\nHost: bus\r\nContent-Length: ${length}\r\n\r\n`);
  }

  get status(): string {
    return this.reply.slice(9, 12);
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}

describe("how much is read of a refused body", () => {
  test("a client that stops halfway gets its reply at once, and is disconnected after two seconds", async () => {
    using refused = new Refused(mebibyte);
    await until("the reply arrived", () => refused.reply.includes('"code":"unauthenticated"}'), 1_500);
    const ms = await refused.closed;
    expect(ms).toBeGreaterThan(1_500);
    expect(ms).toBeLessThan(8_000);
    expect(refused.status).toBe("401");
    expect(refused.reply.toLowerCase()).toContain("connection: close");
  });

  test("a slow trickle of bytes does not extend the two seconds", async () => {
    using refused = new Refused(mebibyte);
    const dripping = setInterval(() => refused.socket.write("x"), 50);
    try {
      expect(await refused.closed).toBeLessThan(8_000);
    } finally {
      clearInterval(dripping);
    }
  });

  test("at most 16 MiB are read, however fast they arrive", async () => {
    using refused = new Refused(1_024 * mebibyte);
    const part = Buffer.alloc(mebibyte, "x");
    let sent = 0;
    while (!refused.socket.destroyed && sent < 256 * mebibyte) {
      sent += part.length;
      if (refused.socket.write(part)) continue;
      await Promise.race([new Promise((resolve) => refused.socket.once("drain", resolve)), refused.closed]);
    }
    // Data in the socket buffers of both ends adds to what the server reads.
    expect(sent).toBeGreaterThanOrEqual(16 * mebibyte);
    expect(sent).toBeLessThan(48 * mebibyte);
    await refused.closed;
  });

  test("with more than 32 refused bodies at a time, and not before, the connection closes at once", async () => {
    const held = Array.from({ length: 32 }, () => new Refused(mebibyte));
    try {
      await until("all replies arrived", () => held.every(({ reply }) => reply.includes("unauthenticated")), 10_000);
      using one = new Refused(mebibyte);
      const others = held.map(({ closed }) => closed.then(() => "one that came before it"));
      expect(await Promise.race([one.closed.then(() => "it"), ...others])).toBe("it");
      expect(one.status).toBe("401");
    } finally {
      for (const one of held) one[Symbol.dispose]();
    }
  });
});
