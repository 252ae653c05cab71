/**
 * One room, as the application uses it: send (see `Conversation`), request, read, blobs, members, leave. It wires the
 * parts of a room together, and blocks sending while an owner conflict or a stale epoch waits for a person's decision.
 * `Bus` makes one `Room` for each room id.
 */
import { UnibusError } from "../../wire/errors.ts";
import { parseFingerprint, parseRoomLink, roomLink } from "../../wire/fingerprint.ts";
import type { DropReason, Frame } from "../../wire/frame.ts";
import type { Refused } from "../crypto/frames.ts";
import { Events, type Unlisten } from "../events.ts";
import { checkOptions, checkSaying, durableChecks, timelineChecks } from "../option-checks.ts";
import { Patience } from "../transport/outage.ts";
import { KeyAge } from "../trust/key-age.ts";
import { type OwnerConflict, ownerConflictError } from "../trust/owner-check.ts";
import type { VerifiedMember, VerifiedRoom } from "../trust/verified-room.ts";
import { type Answer, Answers } from "./answers.ts";
import { Conversation } from "./conversation.ts";
import { type DirectAddition, type DirectPeer, DirectWatch } from "./direct-watch.ts";
import { Durable, type DurableOptions } from "./durable.ts";
import { Eraser } from "./erasing.ts";
import { KeptChain } from "./kept-chain.ts";
import { LiveTimeline, type TimelineOptions } from "./live-timeline.ts";
import { Membership } from "./membership.ts";
import { Message } from "./message.ts";
import { Presence } from "./presence.ts";
import type { SendOptions } from "./publisher.ts";
import { type Received, Receiver } from "./receiver.ts";
import { Requests, requestTimeoutMs } from "./requests.ts";
import { RoomBlobs, type StoredBlob } from "./room-blobs.ts";
import type { RoomDeps } from "./room-deps.ts";
import { emitSteps, type RoomEvents } from "./room-events.ts";
import { IntegrityWatch, type RoomIntegrity } from "./room-integrity.ts";
import { keepParts } from "./room-parts.ts";
import { type HistoryOptions, type HistoryPage, type Messages, type ReadOptions, RoomReader } from "./room-reader.ts";
import { RoomSender } from "./room-sender.ts";
import { RoomSignals } from "./room-signals.ts";
import { sayingOf } from "./saying.ts";
import { SenderChain } from "./sender-chain.ts";
import { Settling } from "./settling.ts";

/** Counts of received and dropped frames. */
export interface RoomStats {
  readonly received: number;
  readonly dropped: Readonly<Partial<Record<DropReason, number>>>;
}

/** A room of which this peer is a member. */
export class Room extends Conversation {
  /** The members, and changes to them. */
  readonly membership: Membership;
  readonly subject: string;
  /** The other members that are here or typing, and how far they have read. */
  readonly presence: Presence;
  readonly #reader: RoomReader;
  readonly #settling: Settling;
  readonly #receiver: Receiver;
  readonly #dropped: Partial<Record<DropReason, number>> = {};
  readonly #answers: Answers;
  readonly #blobs: RoomBlobs;
  readonly #patience: Patience;
  readonly #age: KeyAge;
  readonly #requests: Requests;
  readonly #sender: RoomSender;
  readonly #events: Events<RoomEvents>;
  readonly #direct: DirectWatch;
  readonly #chain = new SenderChain();
  readonly #watch: IntegrityWatch;
  #sendsAnyway = false;
  #ownerConflicts: readonly OwnerConflict[];

  constructor(private readonly deps: RoomDeps) {
    super();
    const { trust, keys, changes, control, directory, onTrouble, signal } = deps;
    const onDrop = (refused: Refused, frame?: Frame) => {
      this.#dropped[refused.drop] = (this.#dropped[refused.drop] ?? 0) + 1;
      if (frame !== undefined) this.#watch.dropped(frame, refused);
      deps.onDrop(this, refused);
    };
    this.#events = new Events(onTrouble);
    const { state, keyLifetime: lifetime, isInUse: isAccepted } = deps;
    this.#direct = new DirectWatch({ trust, isAccepted, onTrouble, state, me: control.identity.endpoint });
    trust.onSteps = (steps) => emitSteps(this.#events, this.#direct, steps);
    const { subject, policy } = trust.room.state;
    this.subject = subject;
    this.#age = new KeyAge({ roomId: trust.roomId, persist: policy.persist, control, state, lifetime, signal });
    this.#settling = this.#settlingOf(deps);
    this.#patience = new Patience(signal, onTrouble);
    const keptChain = deps.keepsChains ? new KeptChain(trust.roomId, state, this.#chain, onTrouble) : null;
    this.#sender = new RoomSender({
      ...{ trust, keys, control, settling: this.#settling, patience: this.#patience, chain: this.#chain },
      beginChain: async () => keptChain?.begin(),
      ...{ data: deps.data, refuse: () => this.#refuse() },
      enter: (given) => deps.enter(given).then(() => this.#direct.beforeSending(given)),
      // A reader gets the message back and counts it then.
      onSent: () => {
        this.presence.typing(false);
        if (!this.#reader.isFollowing) this.#age.count();
      },
    });
    const maySend = () => !trust.isForked && this.#isClear;
    this.presence = new Presence(new RoomSignals({ trust, keys, maySend, onTrouble, signals: deps.signals }));
    this.#blobs = new RoomBlobs(trust.roomId, keys, control);
    const onOpened = (received: Received) => this.#chain.saw(received, trust.room.state.policy.sign_msgs);
    this.#receiver = new Receiver({ trust, keys, clock: control.clock, onDrop, onOpened, blobs: this.#blobs });
    this.#watch = new IntegrityWatch({
      ...{ trust, control, receiver: () => this.#receiver, onTrouble, signal },
      onChange: (integrity) => this.#events.emit("integrity", integrity),
    });
    this.#ownerConflicts = deps.ownerConflicts;
    this.#requests = new Requests({ replies: deps.replies, receiver: this.#receiver, data: deps.data, onTrouble });
    this.membership = new Membership(trust, changes, directory, () => this.#refuseStrangers());
    this.#answers = this.#answersOf(deps);
    this.#reader = new RoomReader({
      ...{ roomId: trust.roomId, persist: policy.persist },
      onReceived: () => this.#age.count(),
      watch: this.#watch,
      receiver: this.#receiver,
      control,
      follow: (follows) => deps.follow(this, follows),
      messageOf: (delivered) => this.#answers.requestOf(delivered) ?? new Message(delivered.received),
      onLost: (why) => deps.onLost(this, why),
      onTrouble,
      signal,
    });
    const eraser = new Eraser({ roomId: trust.roomId, persist: policy.persist, control, blobs: this.#blobs });
    const parts = { reader: this.#reader, sender: this.#sender, direct: this.#direct, settling: this.#settling };
    const more = { receiver: this.#receiver, watch: this.#watch, keptChain, blobs: this.#blobs };
    keepParts(this, { ...parts, ...more, eraser, trust, control });
  }

  #settlingOf({ trust, changes, control, settles, isAccepted, onPending, onTrouble, signal }: RoomDeps): Settling {
    return new Settling({
      ...{ trust, changes, age: this.#age, me: control.identity.signPubHex, isAccepted, onTrouble, signal },
      isAllowed: () => settles && this.#isClear,
      onPending: (left) => onPending(this, left),
    });
  }

  #answersOf({ control, data, onTrouble }: RoomDeps): Answers {
    return new Answers({
      reader: () => this.#reader,
      me: control.identity.endpoint,
      send: async (bytes, { id, subject }) => {
        const sealed = await this.#sender.sealed(sayingOf(control.clock, bytes, { replyTo: id }), undefined);
        const { publisher } = await data();
        await publisher.send({ ...sealed, subject, dedupId: null });
      },
      onTrouble,
    });
  }

  /** Adds a listener for changes of the members until the returned function is called. */
  on<K extends keyof RoomEvents>(name: K, listener: (detail: RoomEvents[K]) => void): Unlisten {
    return this.#events.on(name, listener);
  }

  /** The other person of a direct room; null for any other room. */
  get direct(): DirectPeer | null {
    return this.#direct.peer;
  }

  /** Third persons in a room that was direct. A send fails once with their names, unless `confirmAdded` was called. */
  get addedToDirect(): readonly DirectAddition[] {
    return this.#direct.additions;
  }

  /** Records that the user knows of these third persons. */
  confirmAdded(): Promise<void> {
    return this.#direct.confirm();
  }

  get id(): string {
    return this.deps.trust.roomId;
  }

  /** The room as its owners signed it. Errors: room_forked. */
  get state(): VerifiedRoom {
    return this.deps.trust.room;
  }

  /** Whether a person verified that this is the intended room, or the client only trusts the server. */
  get trust(): "verified" | "unverified" {
    return this.deps.trust.identity.verifiedBy === null ? "unverified" : "verified";
  }

  /** The room's fingerprint, 22 hex digits. `fingerprintWords` converts it to 8 words for members to compare. */
  get fingerprint(): string {
    return this.deps.trust.identity.fingerprint ?? "";
  }

  /** A link that opens exactly this room. It does not grant access. */
  get link(): string {
    return roomLink({ url: this.deps.control.linkUrl, roomId: this.id, fingerprint: this.fingerprint });
  }

  /**
   * Marks the room as verified, by the words, hex digits or link that another member gave over another channel.
   * Errors: invalid for any other text; room_forked if it is not this room's fingerprint.
   */
  async verify(given: string): Promise<void> {
    const link = parseRoomLink(given);
    const fingerprint = link?.fingerprint ?? parseFingerprint(given);
    if (fingerprint === null || (link !== null && link.roomId !== this.id)) {
      const hint = "enter the 8 words or the link that another member sees";
      throw new UnibusError("invalid", `not a fingerprint of this room: ${JSON.stringify(given)} (${hint})`);
    }
    await this.deps.trust.identity.verify(fingerprint, link === null ? "words" : "link");
  }

  /** Owners who may be mistaken for another user. Nothing is sent to the room until they are approved. */
  get ownerConflicts(): readonly OwnerConflict[] {
    return this.#ownerConflicts;
  }

  /** The error that blocks sending while there are such owners. */
  get ownerConflictError(): UnibusError {
    return ownerConflictError(this.subject, this.#ownerConflicts);
  }

  /** Approves these owners. Call it after a person has checked with them. */
  async approveOwners(): Promise<void> {
    await this.deps.trust.identity.approve(this.#ownerConflicts.map(({ endpoint }) => endpoint));
    this.#ownerConflicts = [];
  }

  get epoch(): number {
    return this.state.state.epoch;
  }

  /** The current members. An owner still has to sign the removal of those marked `left`. */
  get members(): readonly VerifiedMember[] {
    return this.state.present;
  }

  /** Whether messages are missing, as far as this client has read: see the event `integrity`. */
  get integrity(): RoomIntegrity {
    return this.#watch.current;
  }

  stats(): RoomStats {
    return { received: this.#reader.received, dropped: { ...this.#dropped } };
  }

  /** Reads the room's members and statements again. Errors: room_forked, forbidden, gone. */
  async refresh(signal?: AbortSignal): Promise<VerifiedRoom> {
    return this.deps.trust.refresh(signal);
  }

  /** Ignores `room_stale` from now on: a person decided that the epoch shown by the server is acceptable. */
  sendAnyway(): void {
    this.#sendsAnyway = true;
  }

  /**
   * Sends a request to the room and returns the first answer. Source: docs/protocol/logins.md.
   * Errors: timeout if no member answers; those of `send`.
   */
  async request(data: Uint8Array | string, options: SendOptions = {}): Promise<Message> {
    checkSaying("request", data, options);
    this.#refuse();
    const saying = sayingOf(this.deps.control.clock, data);
    const timeoutMs = options.timeoutMs ?? requestTimeoutMs;
    const enter = () => this.deps.enter(options.signal);
    const { leftMs } = await this.#patience.run(enter, { ...options, timeoutMs });
    const seal = () => this.#sender.sealed(saying, options.signal);
    return this.#requests.request({ id: saying.id, seal }, { ...options, timeoutMs: leftMs });
  }

  /**
   * Answers requests with what `answer` returns, until the returned function is called. If `answer` throws, no answer
   * is sent. Resolves when every request from now on will be answered.
   */
  respond(answer: Answer): Promise<() => void> {
    return this.#answers.respond(answer);
  }

  /**
   * Messages as an async iterator. A slow reader is not closed: see `whenBehind`. Errors while reading: forbidden,
   * gone, room_forked.
   */
  messages(options: ReadOptions = {}): Messages {
    return this.#reader.messages(options);
  }

  /**
   * The room's timeline: its messages with edits, reactions and deletions, kept up to date until it is closed. Reads
   * the newest messages at first, and older ones on demand.
   */
  timeline(options: TimelineOptions = {}): LiveTimeline {
    checkOptions("timeline", options, timelineChecks);
    const { trust, onTrouble, signal } = this.deps;
    const { persist } = this.state.state.policy;
    return new LiveTimeline({ reader: this.#reader, trust, persist, onTrouble, signal }, options);
  }

  /** A person is typing: call it at each key. Short for `presence.typing`. */
  typing(isTyping = true): void {
    this.presence.typing(isTyping);
  }

  /** A page of history, verified. Invalid frames are dropped and counted. Errors: those of GET history. */
  history(page: HistoryOptions = {}, signal?: AbortSignal): Promise<HistoryPage> {
    return this.#reader.history(page, signal);
  }

  /**
   * Calls `onMessage` with one message after another, until the returned function is called. Resolves when every
   * message sent from now on will be delivered. If `onMessage` throws, the error is reported as `trouble` and reading
   * goes on. `onEnd` is called with the reason if reading ends by itself.
   */
  onMessage(
    onMessage: (message: Message) => unknown,
    options: ReadOptions & { readonly onEnd?: (error: unknown) => void } = {},
  ): Promise<() => void> {
    return this.#reader.listen(onMessage, options);
  }

  /**
   * Calls `onRaw` with the bytes of every live message on the room's subject: unverified, sealed, perhaps duplicated,
   * and perhaps not from a member. Only while the room is read (`messages`, `onMessage`).
   */
  onRaw(onRaw: (bytes: Uint8Array) => void): () => void {
    return this.#reader.listenRaw(onRaw);
  }

  /**
   * Reads from a position that the server keeps for this device; unacked messages are redelivered. A message is acked
   * when the promise of `onMessage` resolves, and not if it rejects. Source: docs/protocol/durables.md.
   */
  async durable(onMessage: (message: Message) => unknown, options: DurableOptions = {}): Promise<Durable> {
    checkOptions("durable", options, durableChecks);
    await this.deps.enter(options.signal);
    const { live } = await this.deps.data();
    const { control, deliver, onTrouble } = this.deps;
    const deps = { live, control, receiver: this.#receiver, roomId: this.id, deliver, onTrouble };
    const onReceived = (received: Received, seq: number) => {
      this.#watch.delivered(received, seq);
      return onMessage(new Message(received));
    };
    return Durable.bind(deps, onReceived, options);
  }

  /** Encrypts a blob with the room's key and stores it. Pass the result to `send`. Errors: too_large, quota. */
  async putBlob(plaintext: Uint8Array, signal?: AbortSignal): Promise<StoredBlob> {
    return this.#blobs.put(plaintext, await this.#sender.prepare(signal), signal);
  }

  /** Fetches and decrypts the blob of a message. Errors: not_found; invalid if the bytes do not match the reference. */
  getBlob(named: Pick<Message, "blob" | "epoch">, signal?: AbortSignal): Promise<Uint8Array> {
    return this.#blobs.get(named, signal);
  }

  /** Leaves the room. Errors: conflict for the last owner. */
  async leave(signal?: AbortSignal): Promise<void> {
    await this.deps.changes.leave(signal);
    this.#reader.end(null);
  }

  /** Deletes the room and its history for ever. Errors: forbidden. */
  async deleteRoom(signal?: AbortSignal): Promise<void> {
    await this.deps.changes.delete(signal);
    this.#reader.end(null);
  }

  /** Blocks sending until a person decides. Errors: forbidden, room_stale. */
  #refuse(): void {
    this.#refuseStrangers();
    this.#direct.refuse();
    if (!this.#sendsAnyway) this.deps.trust.claims.refuse(this.state);
  }

  #refuseStrangers(): void {
    if (this.#ownerConflicts.length > 0) throw this.ownerConflictError;
  }

  /** Whether no decision of a person is pending. */
  get #isClear(): boolean {
    return this.#ownerConflicts.length === 0 && this.deps.trust.claims.standing(this.state) === null;
  }
}
