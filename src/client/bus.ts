/**
 * The entry point of the client: one bus, as one peer uses it. `Bus` creates the parts of the client, wires them
 * together and keeps one `Room` for each room id. Data-plane messages enter here and go to rooms, inboxes and durables.
 */
import { Background } from "../lib/background.ts";
import type { Info } from "../wire/api.ts";
import { hasCode, UnibusError } from "../wire/errors.ts";
import { looksLikeRoomLink } from "../wire/fingerprint.ts";
import { deliverRoot, isUlid, signalRoot } from "../wire/names.ts";
import type { Policy } from "../wire/statement.ts";
import { Admin } from "./admin.ts";
import type { BusEvents } from "./bus-events.ts";
import type { ConnectOptions } from "./connect-options.ts";
import type { Identity } from "./crypto/identity.ts";
import { VerifiedKeys } from "./crypto/verified-keys.ts";
import { connectDataPlane, type DataPlane } from "./data-plane.ts";
import { Events, type Unlisten } from "./events.ts";
import { Acceptances } from "./rooms/acceptances.ts";
import { DirectRooms } from "./rooms/direct.ts";
import { type modes, policyOf } from "./rooms/modes.ts";
import { Room } from "./rooms/room.ts";
import { createRoom, RoomChanges } from "./rooms/room-changes.ts";
import { findRoom, type RoomEntry, roomLinkOf, roomPages } from "./rooms/room-list.ts";
import { partsOf } from "./rooms/room-parts.ts";
import { RoomRefresher } from "./rooms/room-refresher.ts";
import { Settlements } from "./rooms/settlements.ts";
import { type SignalSwitch, Signals } from "./rooms/signals.ts";
import type { BusStatus } from "./status.ts";
import { isHarmless } from "./transport/arrivals.ts";
import type { ConnectionManager } from "./transport/connection-manager.ts";
import { ControlPlane } from "./transport/control.ts";
import { Deliveries, type DeliveryTaker } from "./transport/deliveries.ts";
import { Hints } from "./transport/hints.ts";
import { Inboxes } from "./transport/inboxes.ts";
import type { LiveMessage } from "./transport/live-message.ts";
import type { Notice } from "./transport/notice.ts";
import { Outage } from "./transport/outage.ts";
import { waitFor } from "./transport/wait.ts";
import { Directory } from "./trust/directory.ts";
import { keyLifetimeDefault } from "./trust/key-age.ts";
import { type OwnerConflict, ownerConflictError, ownerConflicts } from "./trust/owner-check.ts";
import { Recovery } from "./trust/recovery.ts";
import { RoomKeys } from "./trust/room-keys.ts";
import { RoomTrust, type RoomTrustDeps } from "./trust/room-trust.ts";

/** A connection to one bus for one peer: its rooms, users and events. */
export class Bus implements AsyncDisposable {
  readonly identity: Identity;
  readonly directory: Directory;
  /** Users, invites and lists, for admins. */
  readonly admin: Admin;
  /** Handles rooms that were rolled back because the server was restored from a backup. */
  readonly recovery: Recovery;
  /** The switch for typing, presence and read marks in all rooms. `room.presence` has those of a room. */
  readonly signals: SignalSwitch;
  readonly #signals: Signals;
  readonly #events = new Events<BusEvents>((error) => this.#trouble(error));
  readonly #hints = new Hints((roomId, hasLeft) => this.#readHinted(roomId, hasLeft));
  readonly #replies: Inboxes;
  readonly #rooms = new Map<string, Promise<Room>>();
  readonly #bySubject = new Map<string, Room>();
  readonly #deliveries = new Deliveries();
  readonly #closing = new AbortController();
  readonly #settles: boolean;
  readonly #trustParts: RoomTrustDeps;
  readonly #acceptances: Acceptances;
  readonly #directs: DirectRooms;
  readonly #settlements = new Settlements({
    ...{ open: (roomId: string) => this.#opened(roomId), list: () => this.#readGrant() },
    onTrouble: (error) => this.#trouble(error),
  });
  readonly #refresher = new RoomRefresher({
    ...{ rooms: this.#rooms, signal: this.#closing.signal, onTrouble: (error: unknown) => this.#trouble(error) },
    onRead: (room) => void this.#settlements.settleRoom(room),
    onEnd: (room, error) => this.#end(room, error),
  });
  readonly #outage = new Outage((status) => this.#events.emit("status", status));
  #live: ConnectionManager | null = null;
  #data: Promise<DataPlane> | null = null;

  private constructor(
    private readonly options: ConnectOptions,
    /** The HTTP API, for requests that have no method here. */
    readonly control: ControlPlane,
    /** The server's description of itself, from GET /info. */
    readonly info: Info,
  ) {
    this.identity = options.identity;
    this.#settles = options.settles !== false;
    control.onAnswer = () => this.#outage.answered();
    control.clock.onMoved = (error) => this.#events.emit("suspicious", { roomId: null, what: "clock_moved", error });
    const vouched = new VerifiedKeys();
    const { state } = options;
    this.#trustParts = {
      ...{ control, state, vouched, signal: this.#closing.signal, background: new Background() },
      onFork: (roomId, error) => void this.#forked(roomId, error),
      onStale: (roomId, { by: from }, error) =>
        this.#events.emit("suspicious", { roomId, what: "room_stale", from, error }),
      onTrouble: (error) => this.#trouble(error),
    };
    this.admin = new Admin(control);
    this.directory = new Directory(control, state, vouched);
    this.recovery = new Recovery(this.#trustParts);
    this.#directs = new DirectRooms({
      ...{ control, state, directory: this.directory },
      open: (roomId, signal) => this.#opened(roomId, signal),
      create: (subject, signal) => this.createRoom(subject, "matrix", signal),
      noteAccepted: (roomId) => this.#acceptances.noteAccepted(roomId),
    });
    this.#signals = new Signals({
      ...{ me: options.identity.endpoint, clock: control.clock, isOn: options.signals, readMarks: options.readMarks },
      line: () => (this.#live?.isUp === true ? this.#live.line : null),
      follow: async (connects) => (await (connects ? this.#dataPlane() : this.#data))?.live.follow(),
      onTrouble: (error) => this.#trouble(error),
    });
    this.signals = this.#signals;
    this.#replies = new Inboxes(options.identity.endpoint, () => this.#data?.then(({ live }) => live.followNow()));
    this.#acceptances = new Acceptances({
      ...{ control, state, signal: this.#closing.signal, acceptFrom: new Set(options.acceptFrom) },
      refresh: async (roomId) => (await this.#opened(roomId)).refresh(),
      connect: () => this.#dataPlane(),
      reconnect: async () => void (await (await this.#data)?.live.refresh()),
      hasListeners: () => this.#events.hasListeners("invited"),
      onInvited: (invitation) => this.#events.emit("invited", invitation),
      onTrouble: (error) => this.#trouble(error),
    });
  }

  /** Connects. Errors: unavailable if no address answers; unauthenticated if the key does not belong to a user. */
  static async connect(options: ConnectOptions): Promise<Bus> {
    const warnings: string[] = [];
    const control = new ControlPlane({ ...options, onWarning: (warning) => void warnings.push(warning) });
    const bus = new Bus(options, control, await control.info(options.signal));
    // Emit them in the next turn, when the application has added its listeners.
    setTimeout(() => warnings.forEach((warning) => void bus.#events.emit("warning", warning)));
    if (options.lazy !== true) await waitFor(bus.#dataPlane(), options.signal);
    return bus;
  }

  /** The current connection status. The event `status` reports its changes. */
  get status(): BusStatus {
    return this.#outage.status;
  }

  /** Adds an event listener until the returned function is called. */
  on<K extends keyof BusEvents>(name: K, listener: (detail: BusEvents[K]) => void): Unlisten {
    return this.#events.on(name, listener);
  }

  /** This peer's rooms by id, both accepted and only offered ones. Errors: those of GET rooms. */
  async rooms(signal?: AbortSignal): Promise<RoomEntry[]> {
    const entries: RoomEntry[] = [];
    for await (const page of roomPages(this.control, {}, signal)) entries.push(...page);
    this.#acceptances.noteListed(entries);
    this.#noteOwned(entries);
    return entries;
  }

  /** Accepts a room by its id. Not needed for a room that is used anyway. Errors: not_found, forbidden, gone. */
  async accept(roomId: string, signal?: AbortSignal): Promise<void> {
    await this.#acceptances.accept(roomId, signal);
  }

  /**
   * A room by its id, its subject or its link, verified. The same room is always the same object. A link's fingerprint
   * is checked before anything of the room is stored, and marks it as `verified`.
   * Errors: not_found, forbidden, gone; room_forked, also if the link is for another room; invalid for a damaged link.
   */
  async room(name: string, signal?: AbortSignal): Promise<Room> {
    this.#closing.signal.throwIfAborted();
    if (looksLikeRoomLink(name)) return this.#roomByLink(name, signal);
    const known = this.#bySubject.get(name);
    if (known !== undefined) return known;
    const id = isUlid(name) ? name : await this.#idOf(name, signal);
    const room = await this.#opened(id, signal);
    if (!isUlid(name) && room.subject !== name) {
      throw new UnibusError("room_forked", `the server lists ${id} as ${name}, but its owners signed ${room.subject}`);
    }
    return room;
  }

  /** Creates a room that this peer owns. Errors: conflict if the subject is taken; invalid, forbidden, quota. */
  async createRoom(subject: string, policy: Policy | keyof typeof modes, signal?: AbortSignal): Promise<Room> {
    const draft = { subject, policy: policyOf(policy) };
    const { trust, keys } = await createRoom(draft, this.#trustParts, signal);
    // The current connection has no permission for the new room.
    if (this.#data !== null) await (await this.#data).live.refresh();
    return this.#keep(trust.roomId, Promise.resolve(this.#roomOf(trust, keys)));
  }

  /**
   * The direct room with a user, found or made: by handle, key or endpoint. Both are owners. If making it was
   * interrupted, it is completed. Of several rooms with one user, it is the one with the smallest id.
   * Errors: not_found, conflict and forbidden as of `Membership.add`; invalid for this peer; those of `createRoom`.
   */
  async direct(who: string, signal?: AbortSignal): Promise<Room> {
    return this.#directs.with(who, signal);
  }

  /** Closes the client after work in progress. */
  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#signals.close();
    const data = await this.#data?.catch(() => null);
    await this.#settlements.ended();
    await this.#trustParts.background?.settled();
    this.#closing.abort(new UnibusError("unavailable", "this client is closed (connect again)"));
    this.#outage.closed(this.#closing.signal.reason);
    const rooms = await Promise.allSettled(this.#rooms.values());
    const parts = rooms.filter((room) => room.status === "fulfilled").map(({ value }) => partsOf(value));
    for (const { reader } of parts) reader.end(null);
    await data?.live.close();
    // What was in flight has ended.
    await Promise.all(parts.map(({ keptChain }) => keptChain?.end()));
  }

  readonly [Symbol.asyncDispose] = (): Promise<void> => this.close();

  async #roomByLink(text: string, signal: AbortSignal | undefined): Promise<Room> {
    const link = roomLinkOf(text);
    const room = await this.#opened(link.roomId, signal, link.fingerprint);
    // The room may already be open, by its name.
    await room.verify(text);
    return room;
  }

  #opened(id: string, signal?: AbortSignal, fingerprint?: string): Promise<Room> {
    return waitFor(this.#rooms.get(id) ?? this.#keep(id, this.#open(id, fingerprint)), signal);
  }

  async #idOf(subject: string, signal: AbortSignal | undefined): Promise<string> {
    const entry = await findRoom(this.control, subject, signal);
    this.#acceptances.noteListed(entry === null ? [] : [entry]);
    if (entry !== null) return entry.id;
    throw new UnibusError("not_found", `you are not a member of ${subject} (ask an owner to add you)`);
  }

  #keep(id: string, opening: Promise<Room>): Promise<Room> {
    this.#rooms.set(id, opening);
    opening.catch(() => {
      if (this.#rooms.get(id) === opening) this.#rooms.delete(id);
    });
    return opening;
  }

  async #open(id: string, fingerprint?: string): Promise<Room> {
    const trust = await RoomTrust.open(id, this.#trustParts, { fingerprint });
    const found = await ownerConflicts(trust.room, this.identity.endpoint, this.options.state);
    const conflicts = found.filter(({ endpoint }) => !trust.identity.isApproved(endpoint));
    if (conflicts.length > 0) {
      const error = ownerConflictError(trust.room.state.subject, conflicts);
      this.#events.emit("suspicious", { roomId: id, what: "owner_conflict", from: conflicts[0]?.endpoint, error });
    }
    const room = this.#roomOf(trust, new RoomKeys(trust, this.control, this.#closing.signal), conflicts);
    await partsOf(room).direct.load();
    void this.#settlements.settleRoom(room);
    return room;
  }

  #roomOf(trust: RoomTrust, keys: RoomKeys, ownerConflicts: readonly OwnerConflict[] = []): Room {
    return new Room({
      trust,
      keys,
      ownerConflicts,
      changes: new RoomChanges(trust, keys, this.#trustParts),
      control: this.control,
      directory: this.directory,
      replies: this.#replies,
      signals: this.#signals,
      data: () => this.#dataPlane(),
      enter: (signal) => this.#acceptances.enter(trust.roomId, signal),
      follow: (room, follows) => this.#follow(room, follows),
      state: this.options.state,
      keyLifetime: { ...keyLifetimeDefault, ...this.options.keyLifetime },
      settles: this.#settles,
      keepsChains: this.options.keepsChains ?? false,
      isAccepted: () => this.#settlements.isMine(trust.roomId),
      isInUse: () => this.#acceptances.isAccepted(trust.roomId),
      onPending: ({ id: roomId, subject }, left) => this.#events.emit("rekeyPending", { roomId, subject, left }),
      deliver: (subject, taker) => this.#deliver(subject, taker),
      onDrop: ({ id: roomId }, { drop: what, signedBy: from, claims }) => {
        if (!isHarmless(what)) this.#events.emit("suspicious", { roomId, what, from, claims });
      },
      onLost: (room, why) => this.#events.emit("lost", { roomId: room.id, why }),
      // A fork is reported by `onFork`.
      onTrouble: (error) => void (hasCode(error, "room_forked") || this.#trouble(error)),
      signal: this.#closing.signal,
    });
  }

  async #follow(room: Room, follows: boolean): Promise<void> {
    // Register the room before it is accepted, so that the next connection subscribes to it.
    if (follows) this.#bySubject.set(room.subject, room);
    else if (this.#bySubject.get(room.subject) === room) this.#bySubject.delete(room.subject);
    if (follows) await this.#acceptances.enter(room.id);
    if (follows || this.#data !== null) await (await this.#dataPlane()).live.follow();
  }

  async #deliver(subject: string, taker: DeliveryTaker | null): Promise<void> {
    this.#deliveries.set(subject, taker);
    await (await this.#dataPlane()).live.follow();
  }

  #dataPlane(): Promise<DataPlane> {
    this.#closing.signal.throwIfAborted();
    if (this.#data !== null) return this.#data;
    const connecting = this.#connectData();
    this.#data = connecting;
    connecting.catch(() => {
      if (this.#data === connecting) this.#data = null;
    });
    return connecting;
  }

  async #connectData(): Promise<DataPlane> {
    const { options, info, control } = this;
    const plane = await connectDataPlane({
      ...{ options, info, control, outage: this.#outage, signal: this.#closing.signal },
      readGrant: () => this.#readGrant(),
      subjects: () => [...this.#bySubject.keys(), ...this.#deliveries.subjects, ...this.#replies.subjects],
      extras: () => this.#signals.subjects,
      onMessage: (message) => this.#take(message),
      onNotice: (notice) => this.#noticed(notice),
      onLink: (is) => this.#notifyReaders(is),
      readRooms: () => this.#refresher.all(),
      onUp: () => this.#connected(),
      onRefused: (subject, isPublish) => {
        this.#signals.refused(subject);
        if (isPublish) this.#deliveries.refused(subject);
      },
      onTrouble: (error) => this.#trouble(error),
    });
    this.#live = plane.live;
    this.#outage.up();
    this.#connected();
    return plane;
  }

  #connected(): void {
    this.#signals.resume();
    void this.#acceptances.look();
  }

  #take(message: LiveMessage): void {
    const room = this.#bySubject.get(message.subject);
    if (message.subject.startsWith(signalRoot)) this.#signals.take(message);
    else if (message.subject.startsWith("_INBOX.")) this.#replies.take(message);
    else if (message.subject.startsWith(deliverRoot)) this.#deliveries.take(message);
    else if (room !== undefined) partsOf(room).reader.take(message);
  }

  /** A notice is only a hint: read what it is about. Source: docs/protocol/notices.md. */
  #noticed({ kind, roomId }: Notice): void {
    this.#events.emit("rooms", { roomId, kind });
    if (kind === "joined") void this.#acceptances.look();
    const settles = kind === "rekey_pending" && this.#settles;
    if (roomId !== null && (settles || this.#rooms.has(roomId))) this.#hints.take(roomId, settles);
  }

  /** Reads the rooms that this peer accepted. Returns a fingerprint of what the next login would grant. */
  async #readGrant(): Promise<string> {
    this.#signals.beforeLogin();
    const { entries, grant } = await this.#acceptances.read();
    this.#noteOwned(entries);
    return grant;
  }

  /** Records which rooms this peer owns, and queues those with a pending rekey. */
  #noteOwned(entries: readonly RoomEntry[]): void {
    for (const id of this.#settlements.listed(entries)) if (this.#settles) this.#hints.take(id, true);
  }

  async #readHinted(roomId: string, hasLeft: boolean): Promise<void> {
    if (this.#closing.signal.aborted) return;
    const known = await this.#rooms.get(roomId)?.catch(() => null);
    if (known) await this.#refresher.refresh(known);
    if (hasLeft) await this.#settlements.settle(roomId);
  }

  #notifyReaders(is: "away" | "back" | "torn"): void {
    for (const room of this.#bySubject.values()) partsOf(room).reader.connection(is);
  }

  async #forked(roomId: string, error: UnibusError): Promise<void> {
    this.#events.emit("suspicious", { roomId, what: "room_forked", error });
    const room = await this.#rooms.get(roomId)?.catch(() => null);
    if (room) this.#end(room, error);
  }

  #end(room: Room, error: UnibusError): void {
    this.#rooms.delete(room.id);
    partsOf(room).reader.end(error);
  }

  #trouble(error: unknown): void {
    if (!this.#closing.signal.aborted && this.#outage.isNews(error)) this.#events.emit("trouble", error);
  }
}
