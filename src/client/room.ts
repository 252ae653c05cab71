import { bytesOf } from "../wire/encoding.ts";
import { UnibusError } from "../wire/errors.ts";
import { type BlobRef, type DropReason, frameTypes } from "../wire/frame.ts";
import type { ControlPlane } from "./control.ts";
import type { Directory } from "./directory.ts";
import { Durable, type DurableOptions, type DurableParts } from "./durable.ts";
import type { Feed } from "./feed.ts";
import { openBlob, type Refused, sealBlob, sealFrame } from "./frames.ts";
import type { Live } from "./live.ts";
import { Membership } from "./membership.ts";
import { Message, Request } from "./message.ts";
import { answerOfServer, type Publisher, type SendOptions } from "./publisher.ts";
import { Receiver } from "./receiver.ts";
import { type Replies, waitingAt } from "./replies.ts";
import type { RoomChanges } from "./room-changes.ts";
import type { RoomKeys } from "./room-keys.ts";
import { type HistoryPage, type Messages, type ReadOptions, RoomReader } from "./room-reader.ts";
import type { Draft } from "./sealing.ts";
import type { Lost, Told } from "./tail.ts";
import type { RoomTrust } from "./trust.ts";
import { newUlid } from "./ulid.ts";
import type { VerifiedMember, VerifiedRoom } from "./verified-room.ts";
import { waitFor } from "./wait.ts";

/** How long a request waits for its reply where nothing is said, in milliseconds. */
const requestTimeoutMs = 5_000;
/** How many requests are answered at once: more are not answered. */
const answersMax = 1_000;

/** What a room is made from. */
export interface RoomParts {
  readonly trust: RoomTrust;
  readonly keys: RoomKeys;
  readonly changes: RoomChanges;
  readonly control: ControlPlane;
  readonly directory: Directory;
  readonly replies: Replies;
  readonly data: () => Promise<{ readonly live: Live; readonly publisher: Publisher }>;
  /** Begins or ends to follow the room's subject. */
  readonly follow: (room: Room, follows: boolean) => Promise<void>;
  readonly deliver: DurableParts["deliver"];
  readonly onDrop: (room: Room, refused: Refused) => void;
  readonly onLost: (room: Room, why: Lost) => void;
  readonly onTrouble: (error: unknown) => void;
  readonly signal: AbortSignal;
}

/** What is said, besides the words. */
export interface SayOptions extends SendOptions {
  /** The id of the message that began the thread. */
  readonly thread?: string | undefined;
  /** The id of the message that this one answers. */
  readonly replyTo?: string | undefined;
  /** What `putBlob` gave. */
  readonly blob?: StoredBlob | undefined;
}

/** A blob of a room, and the epoch whose key opens it: what `putBlob` gives and `getBlob` takes, as any message is. */
export interface StoredBlob {
  readonly blob: BlobRef;
  readonly epoch: number;
}

/** Where a message is. */
export interface Sent {
  readonly id: string;
  /** Its sequence in the room's stream; null where the room is not kept. */
  readonly seq: number | null;
}

/** What was received and what was not. */
export interface RoomStats {
  readonly received: number;
  readonly dropped: Readonly<Partial<Record<DropReason, number>>>;
}

/** What answers requests. */
export type Answer = (request: Message) => Promise<Uint8Array | string> | Uint8Array | string;

/** A room of which this peer is a member. Source: spec 3, 4, 8. */
export class Room {
  /** What it says. For the bus: applications read by `messages`. */
  readonly reader: RoomReader;
  /** Who is in it, and changing that. */
  readonly membership: Membership;
  /** It never changes. */
  readonly subject: string;
  readonly #receiver: Receiver;
  readonly #dropped: Partial<Record<DropReason, number>> = {};
  #stopAnswering: (() => void) | null = null;
  #answering = 0;
  #sendsAnyway = false;

  constructor(private readonly parts: RoomParts) {
    const { trust, keys, changes, control, directory, onTrouble, signal } = parts;
    const onDrop = (refused: Refused) => {
      this.#dropped[refused.drop] = (this.#dropped[refused.drop] ?? 0) + 1;
      parts.onDrop(this, refused);
    };
    this.subject = trust.room.state.subject;
    this.#receiver = new Receiver({ trust, keys, onDrop });
    this.membership = new Membership(trust, changes, directory);
    this.reader = new RoomReader({
      roomId: trust.roomId,
      persist: trust.room.state.policy.persist,
      receiver: this.#receiver,
      control,
      follow: (follows) => parts.follow(this, follows),
      messageOf: (told) => this.#requestOf(told) ?? new Message(told.received),
      onLost: (why) => parts.onLost(this, why),
      onTrouble,
      signal,
    });
  }

  get id(): string {
    return this.parts.trust.roomId;
  }

  /** The room as its owners signed it. Errors: room_forked. */
  get state(): VerifiedRoom {
    return this.parts.trust.room;
  }

  get epoch(): number {
    return this.state.state.epoch;
  }

  /** The members of now, by endpoint. `left` are those whom an owner has to sign out. */
  get members(): readonly VerifiedMember[] {
    return this.state.present;
  }

  /** What was received, and what was dropped and why. */
  stats(): RoomStats {
    return { received: this.reader.received, dropped: { ...this.#dropped } };
  }

  /** Reads the room's members and statements anew. Errors: room_forked, forbidden, gone. */
  async refresh(signal?: AbortSignal): Promise<VerifiedRoom> {
    return this.parts.trust.refresh(signal);
  }

  /**
   * Sends from now on although an owner signed a later epoch than the bus shows (`room_stale`): a person has decided
   * that the key which the bus shows is good enough.
   */
  sendAnyway(): void {
    this.#sendsAnyway = true;
  }

  /**
   * Says something. Where the room is kept, it is stored when this returns.
   * Errors: too_large, quota, forbidden, timeout, unavailable, room_forked; room_stale where an owner signed a later
   * epoch than the bus shows; conflict for a blob of an earlier epoch; the signal's reason.
   */
  async send(data: Uint8Array | string, options: SayOptions = {}): Promise<Sent> {
    // A message says one epoch, which is that of its blob, too; it is sealed in the same turn.
    if (options.blob !== undefined && options.blob.epoch !== this.epoch) {
      throw new UnibusError("conflict", `${this.subject} has got a new key since the blob was stored (store it again)`);
    }
    return this.#say({ ...draftOf(data), ...placeOf(options) }, options);
  }

  /** Reacts to a message. Errors: those of `send`. */
  async react(to: Pick<Message, "id" | "thread">, emoji: string, options: SendOptions = {}): Promise<Sent> {
    const thread = to.thread === null ? {} : { thr: to.thread };
    return this.#say({ ...draftOf(emoji), t: frameTypes.REACT, re: to.id, ...thread }, options);
  }

  /** Answers a message, in its thread or beginning one. Errors: those of `send`. */
  async reply(to: Pick<Message, "id" | "thread">, data: Uint8Array | string, options: SendOptions = {}): Promise<Sent> {
    return this.#say({ ...draftOf(data), re: to.id, thr: to.thread ?? to.id }, options);
  }

  /**
   * Asks the room, and gives the first answer. Source: spec 9.
   * Errors: timeout when nobody answers; those of `send`.
   */
  async request(data: Uint8Array | string, options: SendOptions = {}): Promise<Message> {
    const draft = draftOf(data);
    const { live, publisher } = await waitFor(this.parts.data(), options.signal);
    let settle: (end: Message | UnibusError) => void = () => undefined;
    const answered = new Promise<Message | UnibusError>((resolve) => {
      settle = resolve;
    });
    const inbox = this.parts.replies.open("r", ({ data: bytes }) => {
      const server = answerOfServer(bytes);
      if (server?.refusal) settle(server.refusal);
      if (server === null) void this.#answerIn(bytes, draft.id).then((answer) => answer && settle(answer), settle);
    });
    const within = options.timeoutMs ?? requestTimeoutMs;
    const timer = setTimeout(() => settle(new UnibusError("timeout", "nobody answered in time (try again)")), within);
    try {
      if (!live.isUp && options.offline === "refuse") void live.line;
      const outgoing = { ...(await this.#sealed(draft, options.signal)), reply: inbox.subject };
      await publisher.send(outgoing, { ...options, timeoutMs: within });
      const end = await waitFor(answered, options.signal);
      if (end instanceof Message) return end;
      throw end;
    } finally {
      clearTimeout(timer);
      inbox[Symbol.dispose]();
    }
  }

  /**
   * Answers requests with what `answer` gives, until what is returned is called. One that throws answers nothing.
   * Resolves when requests of now on will be answered.
   */
  async respond(answer: Answer): Promise<() => void> {
    this.#stopAnswering?.();
    const { feed, ready } = this.reader.attach();
    const stop = () => this.reader.detach(feed);
    this.#stopAnswering = stop;
    void this.#answerAll(feed, answer);
    await ready;
    return stop;
  }

  /** Messages as an async iterator. Errors while reading: quota for a reader who is too slow; forbidden, gone. */
  messages(options: ReadOptions = {}): Messages {
    return this.reader.messages(options);
  }

  /** A page of history, verified; what does not hold is dropped and counted. Errors: those of GET history. */
  history(
    page: { readonly limit?: number; readonly before?: number } = {},
    signal?: AbortSignal,
  ): Promise<HistoryPage> {
    return this.reader.history(page, signal);
  }

  /**
   * Calls `onMessage` with each message, one after another, until what is returned is called. Resolves when what is
   * said from now on will come. `onEnd` is told when it ends by itself, with the reason.
   */
  async onMessage(
    onMessage: (message: Message) => unknown,
    { onEnd, ...options }: ReadOptions & { readonly onEnd?: (error: unknown) => void } = {},
  ): Promise<() => void> {
    const messages = this.messages(options);
    void (async () => {
      try {
        for await (const message of messages) await onMessage(message);
        onEnd?.(null);
      } catch (error) {
        if (onEnd === undefined) this.parts.onTrouble(error);
        else onEnd(error);
      }
    })();
    await messages.ready;
    return () => void messages.return?.();
  }

  /**
   * Follows the room from a place that the bus keeps for this device: what was not acknowledged comes again. A message
   * is acknowledged when `onMessage` has ended. Source: spec 8.
   */
  async durable(onMessage: (message: Message) => unknown, options: DurableOptions = {}): Promise<Durable> {
    const { live } = await this.parts.data();
    const { control, deliver, onTrouble } = this.parts;
    const parts = { live, control, receiver: this.#receiver, roomId: this.id, deliver, onTrouble };
    return Durable.bind(parts, (received) => onMessage(new Message(received)), options);
  }

  /** Encrypts a blob with the room's key and stores it. `send` takes what it gives. Errors: too_large, quota. */
  async putBlob(plaintext: Uint8Array, signal?: AbortSignal): Promise<StoredBlob> {
    this.#refuseStale();
    const { epoch, roomId } = this.state.state;
    const roomKey = await this.#blobKey(epoch, signal);
    const { ciphertext, ref } = sealBlob(plaintext, { roomId, epoch, roomKey });
    await this.parts.control.putBlob(ciphertext, signal);
    return { blob: ref, epoch };
  }

  /** The blob that a message names, decrypted. Errors: not_found; invalid for bytes that are not what it names. */
  async getBlob({ blob, epoch }: Pick<Message, "blob" | "epoch">, signal?: AbortSignal): Promise<Uint8Array> {
    if (blob === null) throw new UnibusError("not_found", "this message names no blob (choose another)");
    const roomKey = await this.#blobKey(epoch, signal);
    const ciphertext = await this.parts.control.getBlob(blob.h, signal);
    const opened = openBlob(ciphertext, blob, { roomId: this.id, epoch, roomKey });
    if (opened instanceof Uint8Array) return opened;
    throw new UnibusError(
      "invalid",
      `the bus gave other bytes than the message names: ${opened.fault} (do not trust it)`,
    );
  }

  /** Leaves the room. Errors: conflict for the last owner. */
  async leave(signal?: AbortSignal): Promise<void> {
    await this.parts.changes.leave(signal);
    this.reader.end(null);
  }

  /** Deletes the room for ever, with all that it kept. Errors: forbidden. */
  async delete(signal?: AbortSignal): Promise<void> {
    await this.parts.changes.delete(signal);
    this.reader.end(null);
  }

  async #say(draft: Draft, options: SendOptions): Promise<Sent> {
    const outgoing = await this.#sealed(draft, options.signal);
    const { publisher } = await waitFor(this.parts.data(), options.signal);
    if (outgoing.dedupId !== null) return { id: draft.id, seq: await publisher.store(outgoing, options) };
    await publisher.send(outgoing, options);
    return { id: draft.id, seq: null };
  }

  #refuseStale(): void {
    if (!this.#sendsAnyway) this.parts.trust.claims.refuse(this.state);
  }

  async #sealed(draft: Draft, signal: AbortSignal | undefined) {
    this.#refuseStale();
    const { roomId, subject, policy, epoch } = this.state.state;
    const roomKey = await this.parts.keys.key(epoch, signal);
    const { identity } = this.parts.control;
    const bytes = sealFrame(draft, { roomId, subject, policy, epoch, roomKey }, identity);
    return { roomId, subject, bytes, dedupId: policy.persist ? `${identity.endpoint}.${draft.id}` : null };
  }

  async #blobKey(epoch: number, signal: AbortSignal | undefined): Promise<Uint8Array> {
    const key = await this.parts.keys.key(epoch, signal);
    if (key === null)
      throw new UnibusError("invalid", "this room does not encrypt: it has no blobs (use one that does)");
    return key;
  }

  /** The answer in some bytes to the request with this id, or null. */
  async #answerIn(bytes: Uint8Array, requestId: string): Promise<Message | null> {
    const received = await this.#receiver.open(bytes, "live");
    if (received === null || received.frame.re !== requestId) return null;
    return this.#receiver.isRepeat(received.frame) ? null : new Message(received);
  }

  async #answerAll(feed: Feed, answer: Answer): Promise<void> {
    try {
      for (let told = await feed.next(); told !== null; told = await feed.next()) {
        const request = this.#requestOf(told);
        // One that takes long does not keep the next waiting.
        if (request !== null) void this.#answer(request, answer);
      }
    } catch (error) {
      this.parts.onTrouble(error);
    } finally {
      this.reader.detach(feed);
    }
  }

  async #answer(request: Request, answer: Answer): Promise<void> {
    if (this.#answering >= answersMax) {
      this.parts.onTrouble(
        new UnibusError("quota", `a request came while ${answersMax} were answered (answer faster)`),
      );
      return;
    }
    this.#answering += 1;
    try {
      await request.respond(await answer(request));
    } catch (error) {
      this.parts.onTrouble(error);
    } finally {
      this.#answering -= 1;
    }
  }

  /** A message that waits to be answered, where its sender waits itself: nobody makes this peer write elsewhere. */
  #requestOf({ received, reply }: Told): Request | null {
    const { from, id, t } = received.frame;
    const isAsked = reply !== undefined && waitingAt(reply) === from && t === frameTypes.PUB;
    if (!isAsked || from === this.parts.control.identity.endpoint) return null;
    return new Request(received, async (data) => {
      const sealed = await this.#sealed({ ...draftOf(data), re: id }, undefined);
      const { publisher } = await this.parts.data();
      await publisher.send({ ...sealed, subject: reply, dedupId: null });
    });
  }
}

const draftOf = (data: Uint8Array | string): Draft => ({
  id: newUlid(),
  payload: typeof data === "string" ? bytesOf(data) : data,
});

function placeOf({ thread, replyTo, blob }: SayOptions): Pick<Draft, "thr" | "re" | "b"> {
  return { thr: thread, re: replyTo, b: blob?.blob };
}
