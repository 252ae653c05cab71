/**
 * A client process that sends one file, or fetches the newest one of a room, and prints how long that took and how much
 * its memory grew. Its input is JSON on stdin.
 */
import { connect, type Message, parseIdentity } from "../../src/client/index.ts";
import { growth } from "../../test/support/flood.ts";
import { timed } from "./measure.ts";

/** What the process does. */
export interface FilePeerInput {
  readonly url: string;
  readonly identity: string;
  readonly room: string;
  readonly path: string;
  readonly sends: boolean;
}

/** What it prints. */
export interface FilePeerOutput {
  readonly ms: number;
  readonly grownBytes: number;
}

const warmUpBytes = 8 * 1_048_576;

const { url, identity, room: id, path, sends } = (await Bun.stdin.json()) as FilePeerInput;
await using bus = await connect({ url, identity: await parseIdentity(identity), state: "memory" });
const room = await bus.room(id);

async function newest(): Promise<Message> {
  return (await room.history({ limit: 1 })).messages.at(-1) as Message;
}

// Code, libraries and connections are loaded before the measurement.
await room.sendFile(new Blob([new Uint8Array(warmUpBytes)]).stream());
const file = (await room.history()).messages.findLast(({ header }) => (header.parts?.size ?? 0n) > BigInt(warmUpBytes));
await (await newest()).file()?.bytes();
let ms = 0;
const grownBytes = await growth({ pid: process.pid }, async () => {
  ms = await timed(() => (sends ? room.sendFile(path) : file?.file()?.save(path)));
});
console.log(JSON.stringify({ ms, grownBytes } satisfies FilePeerOutput));
