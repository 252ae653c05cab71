/**
 * A program that sends to a room with 64 messages in flight, until its stdin ends. Then it waits for what is in flight,
 * says one more thing, and prints `done`. Messages that cannot be sent are given up. It may be killed at any time.
 */
import { parseIdentity } from "../../src/client/crypto/identity.ts";
import { connect } from "../../src/client/index.ts";

/** The program's input, as its one argument: JSON. */
export interface PipelinedSending {
  readonly urls: readonly string[];
  readonly roomId: string;
  /** The content of an identity file. */
  readonly identity: string;
  /** Bytes of each message, and how many are sent in a second at most. */
  readonly bytes: number;
  readonly perSecond: number;
}

const inFlightMax = 64;

const { urls, roomId, identity, bytes, perSecond } = JSON.parse(process.argv[2] ?? "{}") as PipelinedSending;
let isOver = false;
void (async () => {
  for await (const _ of Bun.stdin.stream());
  isOver = true;
})();

/** Repeats what fails while the server is down. */
async function insist<T>(work: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (isOver) throw error;
      await Bun.sleep(100);
    }
  }
}

await using bus = await insist(async () => connect({ urls, identity: await parseIdentity(identity), state: "memory" }));
const room = await insist(() => bus.room(roomId));
const flying = new Set<Promise<unknown>>();
for (let n = 0; !isOver; n++) {
  while (flying.size >= inFlightMax) await Promise.race(flying);
  // Every ninth message has little time, so that some are given up while the server is down.
  const timeoutMs = n % 9 === 8 ? 1_500 : 60_000;
  const flight: Promise<unknown> = room
    .send(`${n} ${"x".repeat(bytes)}`, { timeoutMs })
    .catch(() => undefined)
    .finally(() => flying.delete(flight));
  flying.add(flight);
  await Bun.sleep(1_000 / perSecond);
}
await Promise.all(flying);
await insist(() => room.send("the end"));
console.log("done");
