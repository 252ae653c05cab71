/** Load generator process: signs all requests first, then sends them over raw sockets, which uses little CPU. */
import { createHash, createPrivateKey, randomBytes, sign } from "node:crypto";
import { signatureHeaders as names, requestText } from "../../src/wire/sign.ts";
import { quantile } from "./measure.ts";

/** What to send. */
export interface LoadJob {
  readonly hostname: string;
  readonly port: number;
  /** The host to sign for, if it differs from the address. */
  readonly host?: string;
  readonly inFlight: number;
  readonly requests: number;
  /** Each user requests its own target, in turn. `seed` is the signing key in hex. */
  readonly users: readonly { readonly seed: string; readonly pub: string; readonly target: string }[];
}

/** Outcome of a load job. */
export interface LoadResult {
  readonly perSecond: number;
  readonly p99Ms: number;
}

const pkcs8Ed25519 = "302e020100300506032b657004220420";
const noBody = createHash("sha256").update("").digest("hex");

/** Builds the signed requests of a job in wire format. */
function signedRequests({ hostname, port, host = `${hostname}:${port}`, requests, users }: LoadJob): Buffer[] {
  const keys = users.map(({ seed }) =>
    createPrivateKey({ key: Buffer.from(pkcs8Ed25519 + seed, "hex"), format: "der", type: "pkcs8" }),
  );
  return Array.from({ length: requests }, (_, index) => {
    const turn = index % users.length;
    const { pub, target } = users[turn] as LoadJob["users"][number];
    const ts = String(Math.floor(Date.now() / 1000));
    const nonce = randomBytes(16).toString("base64");
    const text = requestText({ host, method: "GET", target, ts, nonce, bodyHash: noBody });
    const sig = sign(null, Buffer.from(text), keys[turn] as (typeof keys)[number]).toString("base64");
    const head = [
      `GET ${target} HTTP/1.1`,
      `Host: ${host}`,
      `${names.host}: ${host}`,
      `${names.pub}: ${pub}`,
      `${names.ts}: ${ts}`,
      `${names.nonce}: ${nonce}`,
      `${names.body}: ${noBody}`,
      `${names.sig}: ${sig}`,
    ];
    return Buffer.from(`${head.join("\r\n")}\r\n\r\n`);
  });
}

/** Total size of a reply in bytes, or 0 if it is not known yet. Errors: if the status is not 200. */
function replySize(bytes: Buffer): number {
  const headEnd = bytes.indexOf("\r\n\r\n");
  if (headEnd === -1) return 0;
  const head = bytes.toString("latin1", 0, headEnd);
  if (!head.startsWith("HTTP/1.1 200")) throw new Error(`a reply that is not 200: ${bytes.toString()}`);
  return headEnd + 4 + Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
}

async function send({ hostname, port, inFlight }: LoadJob, requests: readonly Buffer[]): Promise<LoadResult> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const took: number[] = [];
  let next = 0;
  const began = performance.now();
  const connect = () => {
    let sentAt = 0;
    let pending: Buffer<ArrayBufferLike> = Buffer.alloc(0);
    return Bun.connect({
      hostname,
      port,
      socket: {
        open: (socket) => sendNext(socket),
        data: (socket, bytes) => {
          pending = pending.byteLength === 0 ? bytes : Buffer.concat([pending, bytes]);
          try {
            const size = replySize(pending);
            if (size === 0 || pending.byteLength < size) return;
          } catch (error) {
            reject(error);
            return;
          }
          pending = Buffer.alloc(0);
          took.push(performance.now() - sentAt);
          if (took.length === requests.length) resolve();
          sendNext(socket);
        },
        error: (_, error) => reject(error),
        close: () => {
          if (took.length < requests.length) reject(new Error("the server closed a connection"));
        },
      },
    });
    function sendNext(socket: Bun.Socket): void {
      const request = requests[next++];
      if (request === undefined) return;
      sentAt = performance.now();
      socket.write(request);
    }
  };
  const sockets = await Promise.all(Array.from({ length: inFlight }, connect));
  await promise;
  const seconds = (performance.now() - began) / 1000;
  for (const socket of sockets) socket.end();
  return { perSecond: requests.length / seconds, p99Ms: quantile(took, 0.99) };
}

const job = (await Bun.stdin.json()) as LoadJob;
console.log(JSON.stringify(await send(job, signedRequests(job))));
process.exit(0);
