import { UnibusError } from "../wire/errors.ts";
import { parseFingerprint, parseRoomLink, roomLink } from "../wire/fingerprint.ts";
import { type DropReason, frameTypes } from "../wire/frame.ts";
import { type Answer, Answers } from "./answers.ts";
import type { ControlPlane } from "./control.ts";
import type { Directory } from "./directory.ts";
import { Durable, type DurableOptions, type DurableParts } from "./durable.ts";
import { type Refused, sealFrame } from "./frames.ts";
import { KeyAge, type KeyLifetime } from "./key-age.ts";
import type { Live } from "./live.ts";
import { Membership } from "./membership.ts";
import { Message } from "./message.ts";
import { checkOptions, checkSaying, durableChecks, sayChecks } from "./option-checks.ts";
import { Patience } from "./outage.ts";
import { type OwnerConflict, ownerConflictError } from "./owner-check.ts";
import type { Publisher, SendOptions } from "./publisher.ts";
import { Receiver } from "./receiver.ts";
import type { Replies } from "./replies.ts";
import { Requests, requestTimeoutMs } from "./requests.ts";
import { RoomBlobs, type StoredBlob } from "./room-blobs.ts";
import type { RoomChanges } from "./room-changes.ts";
import type { RoomKeys } from "./room-keys.ts";
import { type HistoryPage, type Messages, type ReadOptions, RoomReader } from "./room-reader.ts";
import { draftOf, placeOf, type SayOptions, type Sent } from "./saying.ts";
import type { Draft } from "./sealing.ts";
import { Settling } from "./settling.ts";
import type { ClientState } from "./state.ts";
import type { Lost } from "./tail.ts";
import type { RoomTrust } from "./trust.ts";
import type { VerifiedMember, VerifiedRoom } from "./verified-room.ts";
import { waitFor } from "./wait.ts";

/** What a room is made from. */
export interface RoomParts {
  readonly trust: RoomTrust;
  readonly keys: RoomKeys;
  readonly changes: RoomChanges;
  readonly control: ControlPlane;
  readonly directory: Directory;
  readonly replies: Replies;
  readonly data: () => Promise<{ readonly live: Live; readonly publisher: Publisher }>;
  /** Makes sure that the room is accepted, because it is used. Errors: forbidden, gone, quota. */
  readonly enter: (signal: AbortSignal | undefined) => Promise<void>;
  /** Begins or ends to follow the room's subject. */
  readonly follow: (room: Room, follows: boolean) => Promise<void>;
  /** Where the age of the room's key is kept, and how long one may live. */
  readonly state: ClientState;
  readonly keyLifetime: KeyLifetime;
  /** Whether this client signs out who left, and replaces old keys, where it owns the room. */
  readonly settles: boolean;
  /** Whether this peer made or accepted the room. */
  readonly isAccepted: () => Promise<boolean>;
  /** Called when members left and no owner has signed them out, once for each set of them. */
  readonly onPending: (room: Room, left: readonly string[]) => void;
  readonly deliver: DurableParts["deliver"];
  /** Owners who may be taken for somebody else, and whom nobody has approved. */
  readonly ownerConflicts: readonly OwnerConflict[];
  readonly onDrop: (room: Room, refused: Refused) => void;
  readonly onLost: (room: Room, why: Lost) => void;
  readonly onTrouble: (error: unknown) => void;
  readonly signal: AbortSignal;
}

/** What was received and what was not. */
export interface RoomStats {
  readonly received: number;
  readonly dropped: Readonly<Partial<Record<DropReason, number>>>;
}

/** A room of which this peer is a member. Source: spec 3, 4, 8. */
export class Room {
  /** What it says. For the bus: applications read by `messages`. */
  readonly reader: RoomReader;
  /** What an owner's client does by itself. For the bus. */
  readonly settling: Settling;
  /** Who is in it, and changing that. */
  readonly membership: Membership;
  /** It never changes. */
  readonly subject: string;
  readonly #receiver: Receiver;
  readonly #dropped: Partial<Record<DropReason, number>> = {};
  readonly #answers: Answers;
  readonly #draftOf = (data: Uint8Array | string) => draftOf(this.parts.control.clock, data);
  readonly #blobs: RoomBlobs;
  readonly #patience: Patience;
  readonly #age: KeyAge;
  readonly #requests: Requests;
  #sendsAnyway = false;
  #ownerConflicts: readonly OwnerConflict[];

  constructor(private readonly parts: RoomParts) {
    const { trust, keys, changes, control, directory, onTrouble, signal } = parts;
    const onDrop = (refused: Refused) => {
      this.#dropped[refused.drop] = (this.#dropped[refused.drop] ?? 0) + 1;
      parts.onDrop(this, refused);
    };
    this.subject = trust.room.state.subject;
    const { persist } = trust.room.state.policy;
    this.#age = new KeyAge({
      roomId: trust.roomId,
      persist,
      control,
      state: parts.state,
      lifetime: parts.keyLifetime,
      signal,
    });
    this.settling = new Settling({
      trust,
      changes,
      age: this.#age,
      me: control.identity.signPubHex,
      isAllowed: () => parts.settles && this.#isClear,
      isAccepted: parts.isAccepted,
      onPending: (left) => parts.onPending(this, left),
      onTrouble,
      signal,
    });
    this.#patience = new Patience(signal, onTrouble);
    this.#blobs = new RoomBlobs(trust.roomId, keys, control);
    this.#receiver = new Receiver({ trust, keys, clock: control.clock, onDrop });
    this.#ownerConflicts = parts.ownerConflicts;
    this.#requests = new Requests({ replies: parts.replies, receiver: this.#receiver, data: parts.data, onTrouble });
    this.membership = new Membership(trust, changes, directory, () => this.#refuseStrangers());
    this.#answers = new Answers({
      reader: () => this.reader,
      me: control.identity.endpoint,
      send: async (data, { id, subject }) => {
        const sealed = await this.#sealed({ ...this.#draftOf(data), re: id }, undefined);
        const { publisher } = await parts.data();
        await publisher.send({ ...sealed, subject, dedupId: null });
      },
      onTrouble,
    });
    this.reader = new RoomReader({
      roomId: trust.roomId,
      persist,
      onReceived: () => this.#age.count(),
      receiver: this.#receiver,
      control,
      follow: (follows) => parts.follow(this, follows),
      messageOf: (told) => this.#answers.requestOf(told) ?? new Message(told.received),
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

  /** Whether a person verified that this is the room which was meant, or it is the bus's word alone. Source: spec 3. */
  get trust(): "verified" | "unverified" {
    return this.parts.trust.identity.verifiedBy === null ? "unverified" : "verified";
  }

  /** The room's fingerprint, 22 hex digits: `fingerprintWords` makes 8 words of it, which members compare. */
  get fingerprint(): string {
    return this.parts.trust.identity.fingerprint ?? "";
  }

  /** A link by which others open this room and no other one. It admits nobody. */
  get link(): string {
    return roomLink({ url: this.parts.control.urls[0] ?? "", roomId: this.id, fingerprint: this.fingerprint });
  }

  /**
   * Marks the room as verified, by the words, the hex digits or the link that another member gave on another way.
   * Errors: invalid for what is none of these; room_forked where it is not this room's fingerprint.
   */
  async verify(given: string): Promise<void> {
    const link = parseRoomLink(given);
    const fingerprint = link?.fingerprint ?? parseFingerprint(given);
    if (fingerprint === null || (link !== null && link.roomId !== this.id)) {
      const hint = "give the 8 words or the link that another member sees";
      throw new UnibusError("invalid", `not a fingerprint of this room: ${JSON.stringify(given)} (${hint})`);
    }
    await this.parts.trust.identity.verify(fingerprint, link === null ? "words" : "link");
  }

  /** Owners who may be taken for somebody else: nothing is sent to the room until they are approved. */
  get ownerConflicts(): readonly OwnerConflict[] {
    return this.#ownerConflicts;
  }

  /** Why nothing is sent while there are such owners. */
  get ownerConflictError(): UnibusError {
    return ownerConflictError(this.subject, this.#ownerConflicts);
  }

  /** Approves the owners who may be taken for somebody else: a person has asked them. */
  async approveOwners(): Promise<void> {
    await this.parts.trust.identity.approve(this.#ownerConflicts.map(({ endpoint }) => endpoint));
    this.#ownerConflicts = [];
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
   * Errors: too_large, quota, timeout, unavailable, room_forked; forbidden, also while an owner may be taken for
   * somebody else; room_stale where an owner signed a later epoch than the bus shows; conflict for a blob of an earlier
   * epoch; the signal's reason.
   */
  async send(data: Uint8Array | string, options: SayOptions = {}): Promise<Sent> {
    checkSaying("send", data, options, sayChecks);
    return this.#say({ ...this.#draftOf(data), ...placeOf(options) }, options);
  }

  /** Reacts to a message. Errors: those of `send`. */
  async react(to: Pick<Message, "id" | "thread">, emoji: string, options: SendOptions = {}): Promise<Sent> {
    checkSaying("react", emoji, options);
    const thread = to.thread === null ? {} : { thr: to.thread };
    return this.#say({ ...this.#draftOf(emoji), t: frameTypes.REACT, re: to.id, ...thread }, options);
  }

  /** Answers a message, in its thread or beginning one. Errors: those of `send`. */
  async reply(to: Pick<Message, "id" | "thread">, data: Uint8Array | string, options: SendOptions = {}): Promise<Sent> {
    checkSaying("reply", data, options);
    return this.#say({ ...this.#draftOf(data), re: to.id, thr: to.thread ?? to.id }, options);
  }

  /**
   * Asks the room, and gives the first answer. Source: spec 9.
   * Errors: timeout when nobody answers; those of `send`.
   */
  async request(data: Uint8Array | string, options: SendOptions = {}): Promise<Message> {
    checkSaying("request", data, options);
    this.#refuse();
    const draft = this.#draftOf(data);
    const timeoutMs = options.timeoutMs ?? requestTimeoutMs;
    const enter = () => this.parts.enter(options.signal);
    const { leftMs } = await this.#patience.run(enter, { ...options, timeoutMs });
    const seal = () => this.#sealed(draft, options.signal);
    return this.#requests.request({ id: draft.id, seal }, { ...options, timeoutMs: leftMs });
  }

  /**
   * Answers requests with what `answer` gives, until what is returned is called. One that throws answers nothing.
   * Resolves when requests of now on will be answered.
   */
  respond(answer: Answer): Promise<() => void> {
    return this.#answers.respond(answer);
  }

  /**
   * Messages as an async iterator. A reader that is too slow is not ended: see `whenBehind`.
   * Errors while reading: forbidden, gone, room_forked.
   */
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
   * said from now on will come. `onEnd` is called when it ends by itself, with the reason. What `onMessage` throws is
   * reported as `trouble`, and the next message follows: what a member sends must not end a reading.
   */
  onMessage(
    onMessage: (message: Message) => unknown,
    options: ReadOptions & { readonly onEnd?: (error: unknown) => void } = {},
  ): Promise<() => void> {
    return this.reader.listen(onMessage, options);
  }

  /**
   * Calls `onRaw` with the bytes of whatever comes live to the room's subject, as they came: unchecked, sealed, perhaps
   * twice, and perhaps no message of a member at all. Only while the room is followed (`messages`, `onMessage`).
   */
  onRaw(onRaw: (bytes: Uint8Array) => void): () => void {
    return this.reader.listenRaw(onRaw);
  }

  /**
   * Follows the room from a place that the bus keeps for this device: what was not acknowledged comes again. A message
   * is acknowledged when `onMessage` has ended. Source: spec 8.
   */
  async durable(onMessage: (message: Message) => unknown, options: DurableOptions = {}): Promise<Durable> {
    checkOptions("durable", options, durableChecks);
    await this.parts.enter(options.signal);
    const { live } = await this.parts.data();
    const { control, deliver, onTrouble } = this.parts;
    const parts = { live, control, receiver: this.#receiver, roomId: this.id, deliver, onTrouble };
    return Durable.bind(parts, (received) => onMessage(new Message(received)), options);
  }

  /** Encrypts a blob with the room's key and stores it. `send` takes what it gives. Errors: too_large, quota. */
  async putBlob(plaintext: Uint8Array, signal?: AbortSignal): Promise<StoredBlob> {
    this.#refuse();
    // A message has a connection, by which it knows of changes: a blob needs none.
    await this.refresh(signal);
    await waitFor(this.settling.beforeSealing(), signal);
    return this.#blobs.put(plaintext, this.epoch, signal);
  }

  /** The blob that a message names, decrypted. Errors: not_found; invalid for bytes that are not what it names. */
  getBlob(named: Pick<Message, "blob" | "epoch">, signal?: AbortSignal): Promise<Uint8Array> {
    return this.#blobs.get(named, signal);
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

  async #say(draft: Draft, options: SayOptions): Promise<Sent> {
    this.#refuse();
    const { signal, blob } = options;
    // What a room's first message needs is read over HTTP: it waits for that as later ones wait for the connection.
    const { done, leftMs: timeoutMs } = await this.#patience.run(async () => {
      await this.parts.enter(signal);
      // The room is read when the connection is made: what is sealed before that could be for one who left since.
      const { publisher } = await waitFor(this.parts.data(), signal);
      return { publisher, ...(await this.#sealed(draft, signal, blob?.epoch)) };
    }, options);
    const { publisher, rekeyPending, ...outgoing } = done;
    const seq = outgoing.dedupId === null ? null : await publisher.store(outgoing, { ...options, timeoutMs });
    if (seq === null) await publisher.send(outgoing, { ...options, timeoutMs });
    // What is read comes back here and is counted then.
    if (!this.reader.isFollowing) this.#age.count();
    return { id: draft.id, seq, rekeyPending };
  }

  /** Errors: forbidden, room_stale: nothing is sealed before a person has decided. */
  #refuse(): void {
    this.#refuseStrangers();
    if (!this.#sendsAnyway) this.parts.trust.claims.refuse(this.state);
  }

  #refuseStrangers(): void {
    if (this.#ownerConflicts.length > 0) throw this.ownerConflictError;
  }

  /** Whether nothing is left for a person to decide. */
  get #isClear(): boolean {
    return this.#ownerConflicts.length === 0 && this.parts.trust.claims.standing(this.state) === null;
  }

  /** A draft, sealed with the key of now. Errors: those of `send`; conflict for a blob of another epoch. */
  async #sealed(draft: Draft, signal: AbortSignal | undefined, blobEpoch?: number) {
    this.#refuse();
    await waitFor(this.settling.beforeSealing(), signal);
    // A message says one epoch, which is that of its blob, too.
    if (blobEpoch !== undefined && blobEpoch !== this.epoch) {
      throw new UnibusError("conflict", `${this.subject} has got a new key since the blob was stored (store it again)`);
    }
    const rekeyPending = this.settling.isPending;
    const { roomId, subject, policy, epoch } = this.state.state;
    const roomKey = await this.parts.keys.key(epoch, signal);
    const { identity } = this.parts.control;
    const bytes = sealFrame(draft, { roomId, subject, policy, epoch, roomKey }, identity);
    const dedupId = policy.persist ? `${identity.endpoint}.${draft.id}` : null;
    return { roomId, subject, bytes, dedupId, rekeyPending };
  }
}
