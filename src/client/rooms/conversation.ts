/**
 * What a member can say in a room: messages, replies, reactions, edits, pins, a title, receipts. Each is one message
 * with an envelope (docs/protocol/envelope.md). `Room` extends this class.
 */
import { pinsBody, titleBody } from "../../wire/bodies.ts";
import { fromHex } from "../../wire/encoding.ts";
import { UnibusError } from "../../wire/errors.ts";
import { checkSaying, sayChecks } from "../option-checks.ts";
import type { Erasable } from "./erasing.ts";
import { type FileInput, type FileOptions, sendFile } from "./file-sending.ts";
import type { Message } from "./message.ts";
import type { SendOptions } from "./publisher.ts";
import { partsOf } from "./room-parts.ts";
import { type SayOptions, type Sent, sayingOf } from "./saying.ts";

/** A message that another one refers to. */
type Target = Pick<Message, "id" | "thread">;

/** A message that another one changes. Instead of an edit, the message that it edits is meant. */
type Changed = Target & Partial<Pick<Message, "kind" | "replyTo">>;

/** A sent deletion. */
export interface Deleted extends Sent {
  /** Whether the stored message was erased, and its edits. */
  readonly erased: boolean;
  /** How many edits of the message were deleted with it. */
  readonly edits: number;
}

/** Refuses what is not a message: `delete` without one must never mean the room. Errors: invalid. */
function checkMessage(message: unknown): void {
  const { id, from, header } = (message ?? {}) as { id?: unknown; from?: unknown; header?: unknown };
  if (typeof id === "string" && typeof from === "string" && header !== undefined) return;
  const hint = "pass the message, of an item of a timeline item.message; room.deleteRoom() deletes the room";
  throw new UnibusError("invalid", `delete: the first argument must be a message of this room (${hint})`);
}

const at = ({ id, thread, kind, replyTo = null }: Changed) => ({
  replyTo: kind === "edit" && replyTo !== null ? replyTo : id,
  thread: thread ?? undefined,
});

/** The messages that a member sends to a room. */
export class Conversation {
  /**
   * Sends a message. In a room with history, it is stored when this resolves.
   * Errors: too_large, quota, timeout, unavailable, room_forked; invalid for a wrong option or file name; forbidden,
   * also while an owner may be mistaken for another user; room_stale if an owner signed a later epoch than the server
   * shows; conflict for a blob of another epoch; the signal's reason.
   */
  async send(data: Uint8Array | string, options: SayOptions = {}): Promise<Sent> {
    checkSaying("send", data, options, sayChecks);
    return this.#say(data, options);
  }

  /**
   * Sends a file, as large as the sender's quota of files (`blobs.bytes_per_user`, 1 GiB by default): a path (Bun and
   * Node), a `File` or `Blob`, or a stream. A file of more than 16 MiB, or of unknown size, is sent in parts, and is
   * never in memory as a whole. If the room's key changes during the upload, the whole file is sent again; a stream
   * cannot be, so it fails with `conflict`. After a failure or an abort, the client
   * deletes what it stored, unless the message may still arrive.
   * Errors: those of `send` and `putBlob`; invalid for a name or media type that no message may have, and for a file
   * that changed while it was read; not_found for a path.
   */
  async sendFile(file: FileInput, options: FileOptions = {}): Promise<Sent> {
    return sendFile(partsOf(this), file, options);
  }

  /** Replies to a message in its thread, or starts one. Errors: those of `send`. */
  async reply(to: Target, data: Uint8Array | string, options: SendOptions = {}): Promise<Sent> {
    checkSaying("reply", data, options);
    return this.#say(data, { ...options, replyTo: to.id, thread: to.thread ?? to.id });
  }

  /** Replaces the text of a message that this peer sent. Errors: those of `send`; forbidden for another's message. */
  async edit(message: Changed & Pick<Message, "from">, text: string, options: SendOptions = {}): Promise<Sent> {
    checkSaying("edit", text, options);
    const { identity } = partsOf(this).sender;
    if (message.from !== identity.endpoint) {
      throw new UnibusError("forbidden", `message ${message.id} was sent by ${message.from} (edit your own messages)`);
    }
    return this.#say(text, { ...options, ...at(message), kind: "edit" });
  }

  /**
   * Deletes a message: asks every member's client to remove it, then erases it and its edits, which have its text, on
   * the server. If the sender deletes it, the blob of a file goes with it, unless another message of this peer in this
   * room names that; an owner's deletion leaves the blob. It takes nothing from a member who has kept the message.
   * `erased` is false if nothing was erased: the room stores no messages, this one was not found, or an early version
   * of unibus made the room and the server stores the message still. For the sender and for owners. What remains:
   * docs/protocol/history.md#what-remains-after-a-deletion.
   * Errors: those of `send`; forbidden for another's message; rate_limited after 60 in a minute.
   */
  async delete(message: Erasable & Pick<Message, "thread">, options: SendOptions = {}): Promise<Deleted> {
    checkSaying("delete", "", options);
    checkMessage(message);
    const { sender, eraser, receiver } = partsOf(this);
    const isOwn = message.from === sender.identity.endpoint;
    if (!isOwn) sender.checkOwner(`delete the message ${message.id} of another member`);
    const { seqs, sha256, isBlobShared, about } = await eraser.find(message, options.signal);
    const thread = message.thread ?? undefined;
    const ask = (id: string, hash: string | null) =>
      this.#say(fromHex(hash ?? "") ?? "", { ...options, replyTo: id, thread, kind: "delete" });
    const sent = await ask(message.id, sha256);
    let erased = seqs.length > 0;
    let edits = 0;
    // The message itself is erased last: until then, a repeated call finds the edits and the blobs that are left.
    for (const { frame, seq, sha256: hash } of about) {
      if ((await receiver.open(frame, "history"))?.content.kind !== "edit") continue;
      edits += 1;
      await ask(frame.id, hash);
      erased = (await eraser.erase([seq], options.signal)) && erased;
    }
    if (isOwn && !isBlobShared) await eraser.release(message, options.signal);
    erased = (await eraser.erase(seqs, options.signal)) && erased;
    return { ...sent, erased, edits };
  }

  /** Reacts to a message. Errors: those of `send`. */
  async react(to: Changed, emoji: string, options: SendOptions = {}): Promise<Sent> {
    checkSaying("react", emoji, options);
    return this.#say(emoji, { ...options, ...at(to), kind: "react" });
  }

  /** Takes back a reaction of this peer. Errors: those of `send`. */
  async unreact(to: Changed, emoji: string, options: SendOptions = {}): Promise<Sent> {
    checkSaying("unreact", emoji, options);
    return this.#say(emoji, { ...options, ...at(to), kind: "unreact" });
  }

  /**
   * Sets the pinned messages of the room: all of them, at most 50; none with an empty list. For owners.
   * Errors: those of `send`; forbidden for other members.
   */
  async pin(messages: readonly (string | Pick<Message, "id">)[], options: SendOptions = {}): Promise<Sent> {
    const body = pinsBody(messages.map((one) => (typeof one === "string" ? one : one.id)));
    checkSaying("pin", body, options);
    partsOf(this).sender.checkOwner("pin messages");
    return this.#say(body, { ...options, kind: "pin" });
  }

  /**
   * Sets the room's name for people, 1 to 100 characters. Clients show it together with the subject. For owners.
   * Errors: those of `send`; forbidden for other members.
   */
  async setTitle(title: string, options: SendOptions = {}): Promise<Sent> {
    checkSaying("setTitle", title, options);
    partsOf(this).sender.checkOwner("set its title");
    return this.#say(titleBody(title), { ...options, kind: "title" });
  }

  /** Confirms that this peer has dealt with a message, and with all before it. Errors: those of `send`. */
  async receipt(message: Pick<Message, "id">, options: SendOptions = {}): Promise<Sent> {
    checkSaying("receipt", "", options);
    return this.#say("", { ...options, replyTo: message.id, kind: "receipt" });
  }

  #say(data: Uint8Array | string, options: SayOptions): Promise<Sent> {
    const { sender } = partsOf(this);
    return sender.say(sayingOf(sender.clock, data, options), options);
  }
}
