/**
 * A program with several peers, each of which sends consecutive numbers to a room, each after the previous one is
 * stored. Its input is JSON; it prints how many are stored so far, and at the end `done` with the suspicious events it
 * got.
 */
import { parseIdentity } from "../../src/client/crypto/identity.ts";
import { connect } from "../../src/client/index.ts";

/** The program's input. */
export interface Sending {
  readonly url: string;
  readonly roomId: string;
  /** The contents of identity files, one for each sender. */
  readonly identities: readonly string[];
  /** How many messages each sender sends. */
  readonly count: number;
}

const reportEach = 50;

const { url, roomId, identities, count } = (await Bun.stdin.json()) as Sending;
const suspicious: Record<string, number> = {};
let stored = 0;

async function sendAll(identity: string): Promise<void> {
  await using bus = await connect({ url, identity: await parseIdentity(identity), state: "memory" });
  bus.on("suspicious", ({ what }) => {
    suspicious[what] = (suspicious[what] ?? 0) + 1;
  });
  const room = await bus.room(roomId);
  for (let i = 0; i < count; i++) {
    await room.send(String(i), { timeoutMs: 60_000 });
    stored += 1;
    if (stored % reportEach === 0) console.log(stored);
  }
}

await Promise.all(identities.map(sendAll));
console.log(`done ${JSON.stringify(suspicious)}`);
