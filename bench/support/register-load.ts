/** Load generator process: creates identities first, then redeems invites with them over raw sockets. */
import { generateIdentity } from "../../src/client/crypto/identity.ts";
import type { LoadResult } from "./load.ts";
import { quantile } from "./measure.ts";

/** What to redeem, and where. */
export interface RegisterJob {
  readonly hostname: string;
  readonly port: number;
  readonly inFlight: number;
  readonly tokens: readonly string[];
}

async function requestsOf({ tokens }: RegisterJob): Promise<Buffer[]> {
  const requests: Buffer[] = [];
  for (const token of tokens) {
    const { signPubHex: sign_pub, kexPubHex: kex_pub, kexSig: kex_sig } = await generateIdentity();
    const body = JSON.stringify({ token, sign_pub, kex_pub, kex_sig });
    const head = `POST /register HTTP/1.1\r\nHost: bus\r\nContent-Length: ${body.length}\r\n\r\n`;
    requests.push(Buffer.from(head + body));
  }
  return requests;
}

async function send({ hostname, port, inFlight }: RegisterJob, requests: readonly Buffer[]): Promise<LoadResult> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const took: number[] = [];
  let next = 0;
  const connect = () => {
    let sentAt = 0;
    const sendNext = (socket: Bun.Socket): void => {
      const request = requests[next++];
      if (request === undefined) return;
      sentAt = performance.now();
      socket.write(request);
    };
    return Bun.connect({
      hostname,
      port,
      socket: {
        open: sendNext,
        // A reply is small enough to arrive in one chunk.
        data: (socket, bytes) => {
          if (!bytes.toString("latin1").startsWith("HTTP/1.1 201")) reject(new Error(bytes.toString()));
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
  };
  const began = performance.now();
  const sockets = await Promise.all(Array.from({ length: inFlight }, connect));
  await promise;
  const seconds = (performance.now() - began) / 1_000;
  for (const socket of sockets) socket.end();
  return { perSecond: requests.length / seconds, p99Ms: quantile(took, 0.99) };
}

const job = (await Bun.stdin.json()) as RegisterJob;
console.log(JSON.stringify(await send(job, await requestsOf(job))));
process.exit(0);
