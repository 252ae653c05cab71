/**
 * Requests generated from the OpenAPI document, signed by an admin: no 5xx, and only documented replies. Each operation
 * gets every value at the edge of its schema (the coverage phase), and some random ones: few in CI, many and others
 * each time with `npm run soak -- schemathesis`.
 */
import { beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Server } from "../support/executable.ts";
import { addUser, createRoom, policy, send } from "../support/peer.ts";
import { isSoak } from "../support/soak.ts";
import { type FuzzPython, fuzzPython, installMs } from "./environment.ts";

const isFull = isSoak("schemathesis");
/** How many random requests each operation gets. */
const examples = isFull ? 200 : 5;
const seed = isFull ? Math.floor(Math.random() * 1e9) : 1;
const runMs = isFull ? 3_000_000 : 240_000;
const checks = [
  ...["not_a_server_error", "status_code_conformance", "content_type_conformance"],
  ...["response_headers_conformance", "response_schema_conformance"],
];

/** Words that no reply may contain: internals of the database, runtime, file system, or nats-server. */
const telltales = [
  /sqlite|constraint failed|no such (table|column)|syntax error|near "/i,
  /\b(SELECT|INSERT|UPDATE|DELETE|PRAGMA)\b.*\b(FROM|INTO|SET|WHERE)\b/,
  /node_modules|\$bunfs|bun:|node:|\.(ts|js|db|sql|conf)\b/,
  /\bat [A-Za-z_<][\w.<>]* \(|:\d+:\d+\)|(Type|Range|Syntax|Reference)Error|undefined is not|is not a function/,
  /\/(home|tmp|var|usr|etc|proc|root)\//,
  /JetStream|\$JS|\$SYS|unibus-(bus|ctl|auth|sys)\b|ECONN|EPIPE|ENOENT/,
  /\[object |"cause"|typebox|elysia/i,
];

interface Line {
  readonly operation: string;
  readonly method: string;
  readonly url: string;
  readonly status: number;
  readonly headers: Readonly<Record<string, readonly string[]>>;
  readonly text: string;
}

let found: ReturnType<typeof fuzzPython>;
beforeAll(() => {
  found = fuzzPython();
}, installMs);

/** Whether the run is skipped, which CI does not accept. */
function isLeftOut(): boolean {
  if ("python" in found) return false;
  if (process.env.CI === "true") throw new Error(`schemathesis cannot run: ${found.missing}`);
  console.log(`schemathesis was left out: ${found.missing}`);
  return true;
}

async function run(
  server: Server,
  { python, tables }: FuzzPython,
  given: object,
): Promise<{ code: number; said: string }> {
  const start = "from schemathesis.cli import schemathesis; schemathesis()";
  const options = [
    ...["--phases", "examples,coverage,fuzzing", "--max-examples", String(examples), "--seed", String(seed)],
    ...["--workers", "1", "--checks", checks.join(","), "--continue-on-failure", "--no-color"],
  ];
  const child = Bun.spawn([python, "-c", start, "run", `${server.ready.http}/openapi.json`, ...options], {
    cwd: server.folder.path,
    env: {
      ...{ PATH: process.env.PATH ?? "", HOME: server.folder.path, PYTHONDONTWRITEBYTECODE: "1" },
      ...{ PYTHONPATH: import.meta.dir, SCHEMATHESIS_HOOKS: "hooks", UNIBUS_FUZZ: JSON.stringify(given) },
      // Tables of Unicode that Hypothesis computes once, in seconds.
      HYPOTHESIS_STORAGE_DIRECTORY: tables,
    },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    timeout: runMs,
  });
  const [stdout, stderr, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { code, said: `${stdout}\n${stderr}` };
}

test(
  "schemathesis finds no server error and nothing undocumented, and no reply reveals internals",
  async () => {
    if (isLeftOut() || !("python" in found)) return;
    await using server = await Server.start({ args: ["--set", "http.rate=1000000"] });
    const admin = await addUser(server, "root", { admin: true });
    const room = await createRoom(server, admin, policy("encrypt", "persist"));
    const replies = server.folder.file("replies.jsonl");
    const { code, said } = await run(server, found, {
      seed: Buffer.from(admin.signPriv.subarray(0, 32)).toString("hex"),
      ...{ pub: admin.signPubHex, room: room.state.roomId, replies },
    });
    if (code !== 0) throw new Error(`schemathesis --seed ${seed} ended with exit ${code}:\n${said.slice(-8_000)}`);

    const lines = readFileSync(replies, "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Line);
    const { paths } = (await send(`${server.ready.http}/openapi.json`)).json as {
      paths: Record<string, Record<string, { responses: Record<string, unknown> }>>;
    };
    const tried = new Set(lines.map(({ operation }) => operation));
    const operations = Object.entries(paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    );
    // schemathesis itself reads the document first.
    expect(operations.filter((operation) => !tried.has(operation))).toEqual(["GET /openapi.json"]);
    const counts = new Map<number, number>();
    for (const { operation, method, url, status, headers, text } of lines) {
      counts.set(status, (counts.get(status) ?? 0) + 1);
      const [named, path = ""] = operation.split(" ");
      const documented = Object.keys(paths[path]?.[named?.toLowerCase() ?? ""]?.responses ?? {});
      // A method that the path does not support is not an operation of the document.
      const expected = method === named ? documented : ["405"];
      if (!expected.includes(String(status))) throw new Error(`${method} ${url}: ${status}, not one of ${expected}`);
      if (status >= 500) throw new Error(`${method} ${url}: ${status} ${text}`);
      const shown = `${text}\n${JSON.stringify(headers)}`;
      const telltale = status < 400 ? undefined : telltales.find((one) => one.test(shown));
      if (telltale !== undefined) throw new Error(`${method} ${url}: ${telltale} in ${shown}`);
      for (const inside of [server.data, server.folder.path, join(import.meta.dir, "..", "..")]) {
        if (shown.includes(inside)) throw new Error(`${method} ${url}: a path in ${shown}`);
      }
    }
    const summary = [...counts].sort(([a], [b]) => a - b).map(([status, count]) => `${status}: ${count}`);
    console.log(`schemathesis: ${lines.length} replies of ${operations.length} operations (${summary.join(", ")})`);
    // The requests pass authentication, and reach existing objects.
    expect(counts.get(200) ?? 0).toBeGreaterThan(operations.length);
    expect(counts.get(401) ?? 0).toBeLessThan(lines.length / 4);

    expect(await server.end()).toBe(0);
    const { stderr } = await server.output();
    expect(stderr).not.toMatch(/"level":(50|60)/);
  },
  runMs + 60_000,
);
