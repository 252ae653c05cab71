/**
 * A kicked peer that has every key it ever held and the server's full help: the raw frames of later messages and the
 * keys sealed to the others. It must not read anything sent after the kick; the members read everything.
 * Source: docs/protocol/rooms.md, docs/threat-model.md.
 */
import { expect, test } from "bun:test";
import { openBlob, openFrame } from "../../src/client/crypto/frames.ts";
import { connect } from "../../src/client/index.ts";
import { fromBase64 } from "../../src/wire/encoding.ts";
import { decodeFrame, isDropped } from "../../src/wire/frame.ts";
import { streamName } from "../../src/wire/names.ts";
import { Server, until } from "../support/executable.ts";
import { inside, jetStream } from "../support/inside.ts";
import { addUser, call, freshSubject, postUser } from "../support/peer.ts";
import { type RawNats, rawPeer } from "../support/raw-nats.ts";
import { trustingPeer } from "../support/trusting-peer.ts";

const secrets = ["after the kick", "and after a rekey"];

test("after a kick the room stays closed to the kicked member", async () => {
  await using server = await Server.start({ args: ["--set", "http.rate=100000"] });
  const url = server.ready.http;
  const admin = await addUser(server, "root", { admin: true });
  const [anaIdentity, bobIdentity, cleoIdentity] = [
    await postUser(server, admin, "ana"),
    await postUser(server, admin, "bob"),
    await postUser(server, admin, "cleo"),
  ] as const;
  await using ana = await connect({ url, identity: anaIdentity, state: "memory" });
  await using bob = await connect({ url, identity: bobIdentity, state: "memory" });
  await using cleo = await connect({ url, identity: cleoIdentity, state: "memory" });
  const mine = await ana.createRoom(freshSubject(), "matrix");
  await mine.membership.add([bobIdentity.endpoint, cleoIdentity.endpoint]);
  await Promise.all([bob.accept(mine.id), cleo.accept(mine.id)]);
  await mine.send("before");

  // Everything that bob holds: the room as he verified it, the keys of every epoch he was in, an open connection.
  const held = await trustingPeer(bobIdentity, [url]).open(mine.id);
  const bobsKeys = [await held.keys.key(1)];
  await mine.membership.rekey();
  await held.trust.refresh();
  bobsKeys.push(await held.keys.key(2));
  expect(bobsKeys.every((key) => key?.length === 32)).toBe(true);
  using old: RawNats = await rawPeer(server.ready.nats, bobIdentity);
  await old.exchange(`SUB ${mine.subject} 1\r\n`);
  await mine.send("bob hears this");
  await until("bob's old connection has received it", () => old.received.includes("MSG "));
  const heard = old.received.length;

  await mine.membership.kick(bobIdentity.endpoint);
  const put = await mine.putBlob(new TextEncoder().encode(secrets[0]));
  await mine.send(secrets[0] ?? "", { blob: put });
  const { blob } = put;
  await mine.membership.rekey();
  await mine.send(secrets[1] ?? "");

  // The server's help: the frames as it stores them.
  const bus = await inside(server);
  const frames: Uint8Array[] = [];
  const { state } = await jetStream<{ state: { last_seq: number } }>(bus, `STREAM.INFO.${streamName(mine.id)}`);
  for (let seq = 1; seq <= state.last_seq; seq++) {
    const body = { seq };
    const got = await jetStream<{ message: { data: string } }>(bus, `STREAM.MSG.GET.${streamName(mine.id)}`, body);
    frames.push(new Uint8Array(Buffer.from(got.message.data, "base64")));
  }
  await bus.close();
  expect(frames).toHaveLength(4);
  const sealed: string[] = [];
  for (const identity of [anaIdentity, cleoIdentity]) {
    for (const epoch of [1, 2, 3, 4]) {
      const { json, status } = await call(url, identity, "GET", `/rooms/${mine.id}/key?epoch=${epoch}`);
      expect(status).toBe(200);
      sealed.push(json.sealed_key as string);
    }
  }
  expect(await Promise.all(sealed.map((key) => bobIdentity.openRoomKey(key)))).toEqual(sealed.map(() => null));

  const [, , third, fourth] = frames.map(decodeFrame);
  for (const frame of [third, fourth]) {
    if (frame === undefined || isDropped(frame)) throw new Error("the stored message is not a frame");
    expect(frame.e).toBeGreaterThan(2);
    for (const roomKey of bobsKeys) {
      const { policy } = held.trust.room.state;
      const opening = { roomId: mine.id, policy, roomKey, signPub: anaIdentity.signPubHex };
      expect(await openFrame(frame, opening)).toMatchObject({ drop: "not_decryptable" });
    }
  }
  const stored = await call(url, bobIdentity, "GET", `/blobs/${blob.h}`);
  expect(stored.status).toBe(200);
  const bytes = await ana.control.getBlob(blob.h);
  for (const roomKey of bobsKeys) {
    for (const epoch of [2, 3]) {
      const room = { roomId: mine.id, epoch, roomKey: roomKey ?? new Uint8Array(32) };
      expect(await openBlob(bytes, blob, room)).toEqual({ fault: "not_decryptable" });
    }
  }

  // His old connection received none of them, and his requests are refused.
  await until("bob's old connection is closed", () => old.isClosed);
  expect(old.received.slice(heard)).not.toContain("MSG ");
  for (const part of ["", "/key", "/key?epoch=3", "/members", "/statements?from=1", "/history"]) {
    expect((await call(url, bobIdentity, "GET", `/rooms/${mine.id}${part}`)).status).toBe(403);
  }
  await expect(bob.room(mine.id)).rejects.toMatchObject({ code: "forbidden" });

  // The remaining members read old and new messages.
  const theirs = await cleo.room(mine.id);
  const texts = (await theirs.history()).messages.map(({ text }) => text);
  expect(texts).toEqual(["before", "bob hears this", ...secrets]);
  const [, , withBlob] = (await theirs.history()).messages;
  if (withBlob === undefined) throw new Error("no message");
  expect(new TextDecoder().decode(await theirs.getBlob(withBlob))).toBe(secrets[0] as string);
  expect(fromBase64(sealed[0] ?? "")?.length).toBe(80);
}, 30_000);
