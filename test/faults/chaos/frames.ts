/** Reads back all frames of a room. */
import { decodeFrame, isDropped } from "../../../src/wire/frame.ts";
import { at, type OwnRoom } from "../../support/peer.ts";
import type { Scene } from "./scene.ts";

const pageSize = 1_000;

/** Returns what identifies a frame: the message id that the client gave it, or the plain text. */
function textOf(bytes: Buffer): string {
  const frame = decodeFrame(bytes);
  return isDropped(frame) ? bytes.toString() : frame.id;
}

/** Returns the texts of all frames of a room that a node returns to the room's owner. */
export async function framesAt(scene: Scene, node: number, { owner, ...room }: OwnRoom): Promise<string[]> {
  const found: string[] = [];
  for (let before: number | null = null; ; ) {
    const query = `/history?limit=${pageSize}${before === null ? "" : `&before=${before}`}`;
    const reply = await scene.ask(node, owner, "GET", at({ owner, ...room }, query));
    if (reply?.status !== 200) throw new Error(`history at node ${node}: ${reply?.status} ${reply?.text}`);
    type Page = { messages: string[]; first_seq: number; more: boolean };
    const { messages, first_seq, more } = reply.json as unknown as Page;
    found.push(...messages.map((message) => textOf(Buffer.from(message, "base64"))));
    if (!more) return found;
    before = first_seq;
  }
}
