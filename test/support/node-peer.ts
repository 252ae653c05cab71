/** A program for Node: opens a room with the client's layers and prints what it verified. Its input is JSON. */
import { openState } from "#state";
import { parseIdentity } from "../../src/client/crypto/identity.ts";
import { sha256Hex } from "../../src/wire/encoding.ts";
import { trustingPeer } from "./trusting-peer.ts";

const chunks: Buffer[] = [];
for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
const given = JSON.parse(Buffer.concat(chunks).toString()) as Record<"url" | "identity" | "folder" | "room", string>;
const state = openState({ folder: given.folder, bus: given.url });
const peer = trustingPeer(await parseIdentity(given.identity), [given.url], state);
const { trust, keys } = await peer.open(given.room);
const { version, epoch } = trust.room.state;
const key = await keys.key(epoch);
console.log(JSON.stringify({ version, epoch, key: key && sha256Hex(key), pin: await state.room(given.room) }));
