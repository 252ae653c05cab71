/** Reads a room back, whole. */
import { decodeFrame, isDropped } from "../../../src/wire/frame.ts";
import { at, type OwnRoom } from "../../support/peer.ts";
import type { Scene } from "./scene.ts";

const pageSize = 1_000;

/** What was said in a frame: the id that the client gave it, or the text as it is. */
function textOf(bytes: Buffer): string {
  const frame = decodeFrame(bytes);
  return isDropped(frame) ? bytes.toString() : frame.id;
}

/** The texts of all frames that a node reads back of a room, as its owner. */
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
