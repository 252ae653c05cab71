/**
 * A first room: from an empty folder to a history that survives a kill -9, over real sockets.
 * Run it with `bun examples/first-room.ts [path of the executable, default dist/unibus]`, or `npm run example`.
 * It prints each command or request with its result, and exits 0 only if every read returns the same bytes.
 */
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { connect, nkeyAuthenticator } from "nats";
import { ulid } from "ulid";
import { type Identity, parseIdentity } from "../src/client/crypto/identity.ts";
import { sha256Hex, toBase64 } from "../src/wire/encoding.ts";
import { requestText, signatureHeaders } from "../src/wire/sign.ts";
import { type MemberLine, statementText, zeroHash } from "../src/wire/statement.ts";

const executable = resolve(process.argv[2] ?? join(import.meta.dir, "..", "dist", "unibus"));
const folder = mkdtempSync(join(tmpdir(), "unibus-first-room-"));

/** Prints a result, indented, with long ids and keys shortened. */
function show(text: string): void {
  const short = text.trimEnd().replace(/[A-Za-z0-9_+/=-]{24,}/g, (id) => `${id.slice(0, 8)}…`);
  console.log(short.replace(/^/gm, "  "));
}

function spawn(args: readonly string[]) {
  console.log(`$ unibus ${args.join(" ")}`);
  // Start with an empty environment, so that settings of this machine have no effect.
  return Bun.spawn([executable, ...args], { cwd: folder, env: {}, stdout: "pipe", stderr: "pipe" });
}

/** Runs a command to its end and shows what it printed. */
async function unibus(...args: string[]): Promise<void> {
  const child = spawn(args);
  if ((await child.exited) !== 0) throw new Error(await new Response(child.stderr).text());
  show(await new Response(child.stdout).text());
}

/** Starts the server on free ports and waits for ready.json, which it writes once everything answers. */
async function serve() {
  const child = spawn(["serve", "--http", "127.0.0.1:0", "--nats", "127.0.0.1:0", "--ws", "127.0.0.1:0"]);
  const file = join(folder, "unibus-data", "ready.json");
  for (const end = Date.now() + 30_000; Date.now() < end && child.exitCode === null; await Bun.sleep(5)) {
    const ready = existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : null;
    // After a kill -9, the file of the killed server still exists.
    if (ready?.pid !== child.pid) continue;
    show(`http  ${ready.http}\nnats  ${ready.nats}`);
    return { child, http: ready.http as string, nats: ready.nats as string };
  }
  child.kill("SIGKILL");
  throw new Error(`serve did not become ready: ${await new Response(child.stderr).text()}`);
}

type Server = Awaited<ReturnType<typeof serve>>;

async function end({ child }: Server, signal: "SIGTERM" | "SIGKILL"): Promise<void> {
  console.log(`$ kill -${signal.slice(3)} ${child.pid}`);
  child.kill(signal);
  await child.exited;
  show(child.signalCode === null ? `exit ${child.exitCode}` : `ended by ${child.signalCode}`);
}

/** Sends a signed request: the signature covers host, method, target, time, a fresh nonce, and the body's hash. */
async function call(http: string, who: Identity, method: string, target: string, body = "") {
  const [host, ts] = [new URL(http).host, String(Math.floor(Date.now() / 1000))];
  const [nonce, bodyHash] = [toBase64(randomBytes(16)), sha256Hex(body)];
  const sig = toBase64(await who.sign(requestText({ host, method, target, ts, nonce, bodyHash })));
  const names = signatureHeaders;
  const signed = { [names.host]: host, [names.pub]: who.signPubHex, [names.ts]: ts, [names.nonce]: nonce };
  const headers = { ...signed, [names.body]: bodyHash, [names.sig]: sig };
  const reply = await fetch(http + target, { method, headers, ...(body === "" ? {} : { body }) });
  if (!reply.ok) throw new Error(`${method} ${target}: ${reply.status} ${await reply.text()}`);
  return { status: reply.status, json: (await reply.json()) as Record<string, unknown> };
}

/** Creates a persisted room. The request body is the room's first statement, built and signed by its owner. */
async function createRoom(http: string, owner: Identity, subject: string): Promise<string> {
  const { endpoint, signPubHex, kexPubHex } = owner;
  const keys = { sign_pub: signPubHex, kex_pub: kexPubHex };
  const line: MemberLine = { endpoint, ...keys, role: "owner", since: 1, until: 0 };
  const policy = { encrypt: false, persist: true, sign_msgs: false };
  const first = { version: 1, prev: zeroHash, epoch: 1, keyCheck: zeroHash, lines: [line] };
  const text = statementText({ roomId: ulid(), subject, policy, ...first });
  const statement = { text, by: signPubHex, sig: toBase64(await owner.sign(text)) };
  console.log(`POST /rooms, signed by ana: the first statement of ${subject}`);
  const { status, json } = await call(http, owner, "POST", "/rooms", JSON.stringify({ statement }));
  show(`${status}  room ${json.room_id} on ${json.subject}, epoch ${json.epoch}`);
  return json.room_id as string;
}

/** Publishes with a stock NATS client, which has the nkey seed and knows nothing about unibus. */
async function publish(nats: string, subject: string, messages: readonly Buffer[]): Promise<void> {
  const authenticator = nkeyAuthenticator(
    new TextEncoder().encode(readFileSync(join(folder, "ana.nk"), "utf8").trim()),
  );
  const client = await connect({ servers: nats, authenticator });
  for (const message of messages) client.publish(subject, message);
  await client.drain();
  console.log(`a stock NATS client, logged in by ana.nk: ${messages.length} messages published into ${subject}`);
}

/** Reads the room's history and compares it with the published messages. */
async function readBack(http: string, who: Identity, roomId: string, sent: readonly Buffer[]): Promise<void> {
  console.log(`GET /rooms/${roomId.slice(0, 8)}…/history, signed by ana`);
  const { status, json } = await call(http, who, "GET", `/rooms/${roomId}/history`);
  const read = (json.messages as string[]).map((message) => Buffer.from(message, "base64"));
  const isEqual = read.length === sent.length && read.every((message, i) => message.equals(sent[i] ?? Buffer.of()));
  const texts = read.map((message) => JSON.stringify(message.toString("latin1"))).join(", ");
  show(`${status}  ${texts}: ${isEqual ? "the bytes that were published" : "NOT the bytes that were published"}`);
  if (!isEqual) throw new Error("the history is not what was published");
}

let server: Server | undefined;
try {
  if (!existsSync(executable)) throw new Error(`${executable} does not exist (run \`npm run build\` first)`);
  const sent = ["the very first", "the second", "\x00\xff not text"].map((text) => Buffer.from(text, "latin1"));
  const subject = "room.first";

  server = await serve();
  await unibus("identity", "new", "--out", "ana.json");
  await unibus("user", "add", "ana", "--identity", "ana.json");
  const ana = await parseIdentity(readFileSync(join(folder, "ana.json"), "utf8"));
  const roomId = await createRoom(server.http, ana, subject);
  await unibus("identity", "nkey", "--identity", "ana.json", "--out", "ana.nk");
  await publish(server.nats, subject, sent);
  await readBack(server.http, ana, roomId, sent);
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    await end(server, signal);
    server = await serve();
    await readBack(server.http, ana, roomId, sent);
  }
  await end(server, "SIGTERM");
} catch (error) {
  console.error(`error: ${(error as Error).message}`);
  process.exitCode = 1;
} finally {
  server?.child.kill("SIGTERM");
  await server?.child.exited;
  rmSync(folder, { recursive: true, force: true });
}
