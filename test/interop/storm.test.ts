/**
 * A reconnect storm: many stock nats.go clients at one address lose nats-server, and all must come back. nats.go closes
 * a connection for good after its second authorization error. Small in CI; 2,500 with `npm run soak -- storm`.
 * Source: docs/protocol/logins.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { Folder, Server, until } from "../support/executable.ts";
import { addUser, postUser } from "../support/peer.ts";
import { isSoak } from "../support/soak.ts";

const isFull = isSoak("storm");
/** Maximum connections of one user. Source: docs/protocol/logins.md. */
const perUser = 32;
/** A full run uses the default rate; a small run lowers the rate so that the storm exceeds it by the same factor. */
const size = isFull ? { connections: 2_500, rate: 200 } : { connections: 120, rate: 20 };
/** Deadline for all connections to be back, in milliseconds. */
const backWithinMs = 30_000;
/** On a busy CI machine the timing proves nothing; there this timeout only ends runs that hang. */
const patienceMs = isFull ? 60_000 : 120_000;

/** The connection counts that the Go program prints. */
interface Counts {
  readonly connected: number;
  readonly closed: number;
  readonly lost: number;
  readonly back: number;
  readonly auth_errors: number;
  readonly last_back_ms: number;
}

let folder: Folder;
let program: string;

beforeAll(async () => {
  folder = new Folder();
  program = folder.file("storm");
  const go = Bun.which("go");
  if (go === null) throw new Error("go is not on the PATH: this test builds clients in Go (install Go 1.24 or newer)");
  const command = [go, "build", "-mod=readonly", "-trimpath", "-o", program, "./storm"];
  const source = join(import.meta.dir, "go");
  const build = Bun.spawn(command, { cwd: source, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [said, code] = await Promise.all([new Response(build.stderr).text(), build.exited]);
  if (code !== 0) throw new Error(`go build: ${said}`);
}, 300_000);
afterAll(() => folder[Symbol.dispose]());

/** The running clients. Disposing it stops them. */
class Storm implements AsyncDisposable {
  readonly #child: Bun.Subprocess<"pipe", "pipe", "pipe">;
  readonly #reports: Counts[] = [];
  #errors = "";

  constructor(settings: unknown) {
    this.#child = Bun.spawn([program], { stdin: "pipe", stdout: "pipe", stderr: "pipe" });
    this.#child.stdin.write(`${JSON.stringify(settings)}\n`);
    this.#child.stdin.flush();
    void this.#read();
    void new Response(this.#child.stderr).text().then((text) => {
      this.#errors = text;
    });
  }

  /** Waits until all clients have connected. */
  async ready(): Promise<Counts> {
    await until("all clients are connected", () => this.#reports.length > 0 || this.#errors !== "", 180_000);
    if (this.#errors !== "") throw new Error(`Go: ${this.#errors}`);
    return this.#last;
  }

  async report(): Promise<Counts> {
    const mark = this.#reports.length;
    this.#child.stdin.write("\n");
    this.#child.stdin.flush();
    await until("Go answers", () => this.#reports.length > mark || this.#errors !== "");
    return this.#last;
  }

  get #last(): Counts {
    const last = this.#reports.at(-1);
    if (last === undefined) throw new Error(`Go: ${this.#errors}`);
    return last;
  }

  async #read(): Promise<void> {
    let rest = "";
    for await (const chunk of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) this.#reports.push(JSON.parse(line) as Counts);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
  }
}

const seedOf = ({ signPriv }: Identity): string => Buffer.from(signPriv.subarray(0, 32)).toString("base64");

describe.each([{ stock: false }, { stock: true }])("nats.go clients, stock logins: %p", ({ stock }) => {
  test(`${size.connections} of one address all reconnect after nats-server is killed`, async () => {
    const settings = ["http.rate=1000000", `auth-callout.logins_per_second=${size.rate}`];
    await using server = await Server.start({ args: settings.flatMap((setting) => ["--set", setting]) });
    const admin = await addUser(server, "root", { admin: true });
    const count = Math.ceil(size.connections / perUser);
    const seeds: string[] = [];
    for (let i = 0; i < count; i++) seeds.push(seedOf(await postUser(server, admin, `user${i}`)));
    await using storm = new Storm({ nats: server.ready.nats, seeds, connections: size.connections, stock });
    expect(await storm.ready()).toMatchObject({ connected: size.connections, closed: 0 });

    process.kill(server.ready.nats_pid, "SIGKILL");
    let counts = await storm.report();
    const all = async (): Promise<boolean> => {
      counts = await storm.report();
      return counts.back === size.connections || counts.closed > 0;
    };
    const failure = await until("all are back", all, patienceMs).then(
      () => "",
      (error: Error) => `${error.message}: `,
    );
    console.log(`storm of ${size.connections}, ${stock ? "stock" : "unibus"} logins: ${JSON.stringify(counts)}`);
    const hopedFor = { connected: size.connections, closed: 0, auth_errors: 0, lost: size.connections };
    if (failure !== "" || !Bun.deepMatch(hopedFor, counts)) {
      await server.end();
      throw new Error(`${failure}${JSON.stringify(counts)}\n${(await server.output()).stderr.slice(-10_000)}`);
    }
    if (isFull) expect(counts.last_back_ms).toBeLessThan(backWithinMs);
  }, 600_000);
});
