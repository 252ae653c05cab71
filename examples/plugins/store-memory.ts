/**
 * Keeps every record in Maps. A change never awaits between its checks and its writes, which makes it atomic.
 */
import {
  type ContestedChain,
  chargesOf,
  contestedMax,
  type DeniedStay,
  definePlugin,
  type Head,
  type InviteRecord,
  InviteStore,
  isOverUnaccepted,
  isSameStay,
  keptStay,
  looksOf,
  type RoomRecord,
  RoomStore,
  type SealedKeyRecord,
  Snapshot,
  type SnapshotRow,
  type StatementRecord,
  type StayRecord,
  Type,
  takenRoomId,
  takenSubject,
  type UnacceptedLimits,
  UnibusError,
  type UserRecord,
  UserStore,
  unacceptedQuota,
  type WayBack,
  WayBackStore,
} from "unibus/plugin";

/** A room with its records: stays by endpoint and since, keys by endpoint and epoch, statements by version. */
interface Entry {
  room: RoomRecord;
  claimsSubject: boolean;
  readonly stays: Map<string, StayRecord>;
  readonly keys: Map<string, SealedKeyRecord>;
  readonly statements: Map<number, StatementRecord>;
}

class Memory {
  readonly users = new Map<string, UserRecord>();
  readonly invites = new Map<string, InviteRecord>();
  readonly rooms = new Map<string, Entry>();
  roster = { admins: [] as readonly string[], revision: 0 };
  wayBack: WayBack | null = null;
  readonly heads = new Map<string, Head>();
  readonly denied = new Map<string, DeniedStay>();
  readonly contested = new Map<string, ContestedChain>();
  readonly taken = new Map<string, string>();
  revision = 0;
  stopped = false;

  forgetWayBack(): void {
    for (const map of [this.heads, this.contested, this.taken]) map.clear();
  }
}

/** Returns the memory for a port call; fails once the bus has stopped. */
type Open = () => Memory;

const stayKey = (stay: StayRecord) => `${stay.endpoint} ${String(stay.since).padStart(10, "0")}`;
const keyKey = (key: SealedKeyRecord) => `${key.endpoint} ${String(key.epoch).padStart(10, "0")}`;

const sorted = <K extends string | number, V>(map: ReadonlyMap<K, V>): V[] =>
  [...map].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, value]) => value);

const after = <V>(map: ReadonlyMap<string, V>, key: string | null, limit: number): V[] =>
  sorted(new Map([...map].filter(([own]) => key === null || own > key))).slice(0, limit);

const conflict = (what: string) => new UnibusError("conflict", what);

const openStays = (entry?: Entry) => [...(entry?.stays.values() ?? [])].filter((stay) => stay.until === 0);
const openStay = (entry: Entry | undefined, endpoint: string) =>
  entry && openStays(entry).find((stay) => stay.endpoint === endpoint);
const claimant = ({ rooms }: Memory, subject: string) =>
  [...rooms.values()].find((entry) => entry.claimsSubject && entry.room.subject === subject);
const liveBy = ({ rooms }: Memory, creator: string) =>
  [...rooms.values()].filter(({ room }) => room.creator === creator && room.deletedAt === null).length;
const asRoom = (entry: Entry): RoomRecord => ({
  ...entry.room,
  rekeyPending: openStays(entry).some((stay) => stay.leftAt !== null),
});

const roomsOf = ({ rooms }: Memory, endpoint: string) =>
  sorted(rooms).flatMap((entry) => {
    const stay = openStay(entry, endpoint);
    return entry.room.deletedAt === null && stay && stay.leftAt === null ? [{ room: asRoom(entry), stay }] : [];
  });

/** Whether adding a membership would exceed the limits on unaccepted memberships. */
function isOver(memory: Memory, { endpoint, addedBy, acceptedAt }: StayRecord, limits: UnacceptedLimits): boolean {
  if (acceptedAt !== null) return false;
  const waiting = roomsOf(memory, endpoint).filter(({ stay }) => stay.acceptedAt === null);
  const adders = waiting.map(({ stay }) => stay.addedBy);
  const ofAdder = adders.filter((adder) => adder === addedBy).length;
  return isOverUnaccepted({ all: adders.length, ofAdder, adders: new Set(adders).size }, limits);
}

function createEntry(room: RoomRecord): Entry {
  return { room, claimsSubject: room.deletedAt === null, stays: new Map(), keys: new Map(), statements: new Map() };
}

const userStore = (open: Open): UserStore => ({
  getUser: async (signPub) => open().users.get(signPub) ?? null,
  getUserByEndpoint: async (endpoint) => [...open().users.values()].find((one) => one.endpoint === endpoint) ?? null,
  async insertUser(user) {
    const memory = open();
    if (memory.users.has(user.signPub))
      throw conflict(`the key ${user.signPub} already belongs to a user (change that one)`);
    memory.users.set(user.signPub, { ...user, revision: ++memory.revision });
  },
  async replaceUser(user) {
    const memory = open();
    if (memory.users.get(user.signPub)?.revision !== user.revision) return false;
    memory.users.set(user.signPub, { ...user, revision: ++memory.revision });
    return true;
  },
  deleteUser: async (signPub) => open().users.delete(signPub),
  listUsers: async (key, limit) => after(open().users, key, limit),
  async listActive({ looks, after: endpoint, limit }) {
    const all = [...open().users.values()].filter(({ status }) => status === "active");
    const wanted = all.filter(({ handle }) => {
      const { look1, look2 } = looksOf(handle);
      return looks === undefined || look1 === looks.look1 || look2 === looks.look2;
    });
    return after(new Map(wanted.map((user) => [user.endpoint, user])), endpoint, limit);
  },
  getRoster: async () => open().roster,
  async replaceRoster({ admins, revision }) {
    const memory = open();
    if (memory.roster.revision !== revision) return false;
    memory.roster = { admins, revision: revision + 1 };
    return true;
  },
});

const inviteStore = (open: Open): InviteStore => ({
  commitsTogether: true,
  async insertInvite(invite, pendingMax = Number.POSITIVE_INFINITY) {
    const { invites } = open();
    const waiting = [...invites.values()].filter(({ usedAt }) => usedAt === null);
    if (invite.usedAt === null && waiting.length >= pendingMax) return false;
    if (invites.has(invite.id)) throw conflict(`invite ${invite.id} already exists (create another token)`);
    invites.set(invite.id, invite);
    return true;
  },
  getInvite: async (id) => open().invites.get(id) ?? null,
  async claimInvite(id, { signPub, kexPub, at }) {
    const { invites } = open();
    const invite = invites.get(id);
    if (!invite || invite.usedAt !== null) return false;
    invites.set(id, { ...invite, usedAt: at, usedSignPub: signPub, usedKexPub: kexPub });
    return true;
  },
  async completeInvite(id, at) {
    const { invites } = open();
    const invite = invites.get(id);
    if (invite?.usedAt == null || invite.completedAt !== null) return false;
    invites.set(id, { ...invite, completedAt: at });
    return true;
  },
  async deleteInvite(id) {
    const { invites } = open();
    return invites.get(id)?.usedAt === null && invites.delete(id);
  },
  listPendingInvites: async (limit) =>
    sorted(open().invites)
      .filter((invite) => invite.usedAt === null)
      .sort((a, b) => a.createdAt - b.createdAt)
      .slice(0, limit),
});

const roomReads = (open: Open) =>
  ({
    async getRoom(roomId) {
      const entry = open().rooms.get(roomId);
      return entry ? asRoom(entry) : null;
    },
    findRoomId: async (subject) => claimant(open(), subject)?.room.roomId ?? null,
    getStay: async (roomId, endpoint) => openStay(open().rooms.get(roomId), endpoint) ?? null,
    listStays: async (roomId) => sorted(open().rooms.get(roomId)?.stays ?? new Map<string, StayRecord>()),
    countMembers: async (id) => openStays(open().rooms.get(id)).filter(({ leftAt }) => leftAt === null).length,
    listRoomsOf: async (endpoint, { after: key = null, limit, accepted } = {}) =>
      roomsOf(open(), endpoint)
        .filter(({ room }) => key === null || room.roomId > key)
        .filter(({ stay }) => accepted === undefined || (stay.acceptedAt !== null) === accepted)
        .slice(0, limit),
    countRoomsBy: async (creator) => liveBy(open(), creator),
    async getSealedKey(roomId, endpoint, epoch) {
      const own = sorted(open().rooms.get(roomId)?.keys ?? new Map<string, SealedKeyRecord>());
      return own.findLast((key) => key.endpoint === endpoint && (epoch === null || key.epoch === epoch)) ?? null;
    },
    listStatements: async (roomId, from, limit) =>
      sorted(open().rooms.get(roomId)?.statements ?? new Map<number, StatementRecord>())
        .filter(({ version }) => version >= from)
        .slice(0, limit),
    async rowBytesOf(payer) {
      const charges = [...open().rooms.values()].map(({ room, ...parts }) => {
        const [stays, keys, statements] = [sorted(parts.stays), sorted(parts.keys), sorted(parts.statements)];
        return chargesOf({ room, stays, keys, statements, creator: room.creator });
      });
      return charges.reduce((sum, one) => sum + (one.get(payer) ?? 0), 0);
    },
    listRooms: async (key, limit) => after(open().rooms, key, limit).map(asRoom),
  }) satisfies Partial<RoomStore>;

const roomStore = (open: Open): RoomStore => ({
  ...roomReads(open),
  async insertRoom({ room, stay, keys, statement }, liveMax = Number.POSITIVE_INFINITY) {
    const { rooms } = open();
    const known = rooms.get(room.roomId);
    if (known) throw takenRoomId(room.roomId, known.room.deletedAt !== null);
    if (claimant(open(), room.subject)) throw takenSubject(room.subject);
    if (liveBy(open(), room.creator) >= liveMax) return false;
    const entry = createEntry(room);
    entry.stays.set(stayKey(stay), stay);
    for (const key of keys) entry.keys.set(keyKey(key), key);
    entry.statements.set(statement.version, statement);
    rooms.set(room.roomId, entry);
    return true;
  },
  async applyChange({ room, stays, keys, statement, unaccepted }) {
    const entry = open().rooms.get(room.roomId);
    if (!entry || entry.room.deletedAt !== null || entry.room.revision !== room.revision - 1) return false;
    const refused = unaccepted && stays.find((stay) => isOver(open(), stay, unaccepted));
    if (refused) throw unacceptedQuota(refused.endpoint);
    const { epoch, keyCheck, version, statementHash, revision } = room;
    entry.room = { ...entry.room, epoch, keyCheck, version, statementHash, revision };
    for (const stay of stays) entry.stays.set(stayKey(stay), keptStay(entry.stays.get(stayKey(stay)), stay));
    for (const key of keys) entry.keys.set(keyKey(key), key);
    entry.statements.set(statement.version, statement);
    return true;
  },
  async replaceStay(roomId, { before, after, revision }) {
    const entry = open().rooms.get(roomId);
    const stay = openStay(entry, before.endpoint);
    if (entry?.room.deletedAt !== null || !stay || !isSameStay(stay, before)) return false;
    if (entry.room.revision !== (revision ?? entry.room.revision)) return false;
    if (after.leftAt !== before.leftAt) entry.room = { ...entry.room, revision: entry.room.revision + 1 };
    entry.stays.set(stayKey(after), after);
    return true;
  },
  async dropKeys(roomId) {
    const entry = open().rooms.get(roomId);
    for (const [key, { endpoint }] of entry?.keys ?? []) if (!openStay(entry, endpoint)) entry?.keys.delete(key);
    return null;
  },
  async markDeleted(roomId, at) {
    const entry = open().rooms.get(roomId);
    if (entry?.room.deletedAt !== null) return false;
    entry.room = { ...entry.room, deletedAt: at };
    return true;
  },
  async purgeRoom(roomId) {
    const { rooms } = open();
    const room = rooms.get(roomId)?.room;
    if (room && room.deletedAt !== null) rooms.set(roomId, createEntry(room));
  },
});

const wayBackStore = (open: Open): WayBackStore => ({
  getWayBack: async () => open().wayBack,
  async openWayBack(wayBack) {
    const memory = open();
    memory.forgetWayBack();
    for (const { room } of memory.rooms.values()) {
      if (room.deletedAt === null) memory.heads.set(room.roomId, { version: room.version, hash: room.statementHash });
    }
    memory.wayBack = wayBack;
  },
  async closeWayBack() {
    open().forgetWayBack();
    open().wayBack = null;
  },
  getRestoredHead: async (roomId) => open().heads.get(roomId) ?? null,
  async denyStays(stays) {
    const { denied } = open();
    for (const stay of stays) {
      const key = `${stay.roomId} ${stay.endpoint} ${String(stay.since).padStart(10, "0")}`;
      if (!denied.has(key)) denied.set(key, stay);
    }
  },
  listDeniedStays: async (roomId) => sorted(open().denied).filter((stay) => stay.roomId === roomId),
  async noteContested(chain) {
    const { contested } = open();
    const same = [...contested.values()].filter(({ roomId }) => roomId === chain.roomId);
    const key = `${chain.roomId} ${chain.hash}`;
    if (!contested.has(key) && same.length < contestedMax) contested.set(key, chain);
  },
  listContested: async () => sorted(open().contested),
  takeChain: async (roomId, hash) => void open().taken.set(roomId, hash),
  getTakenChain: async (roomId) => open().taken.get(roomId) ?? null,
  async restoreRoom({ room, expected, base, statements, stays, keys, unaccepted }, liveMax = Number.POSITIVE_INFINITY) {
    const { rooms } = open();
    const known = rooms.get(room.roomId);
    const { version, statementHash: hash, deletedAt = null } = known?.room ?? {};
    if (version !== expected?.version || hash !== expected?.hash || deletedAt !== null) return "overtaken";
    const holder = claimant(open(), room.subject);
    if (holder && holder !== known) throw takenSubject(room.subject);
    if (!known && liveBy(open(), room.creator) >= liveMax) return "too_many_rooms";
    const before = base.version === 0 ? undefined : known?.stays;
    const brought = unaccepted && stays.filter((stay) => stay.until === 0 && !before?.has(stayKey(stay)));
    const refused = unaccepted && brought?.find((stay) => isOver(open(), stay, unaccepted));
    if (refused) throw unacceptedQuota(refused.endpoint);
    const entry = createEntry(known ? { ...room, revision: known.room.revision + 1 } : room);
    for (const stay of stays) entry.stays.set(stayKey(stay), keptStay(before?.get(stayKey(stay)), stay));
    for (const [name, key] of known?.keys ?? []) if (key.epoch <= base.epoch) entry.keys.set(name, key);
    for (const key of keys) if (!entry.keys.has(keyKey(key))) entry.keys.set(keyKey(key), key);
    for (const [at, one] of known?.statements ?? []) if (at <= base.version) entry.statements.set(at, one);
    for (const statement of statements) entry.statements.set(statement.version, statement);
    rooms.set(room.roomId, entry);
    return "restored";
  },
});

function* rowsOf(memory: Memory): Generator<SnapshotRow> {
  for (const user of sorted(memory.users)) yield { kind: "user", user: { ...user, revision: 0 } };
  for (const invite of sorted(memory.invites)) yield { kind: "invite", invite };
  for (const entry of sorted(memory.rooms)) {
    const { roomId } = entry.room;
    const { revision: _, ...room } = asRoom(entry);
    yield { kind: "room", room };
    for (const stay of sorted(entry.stays)) yield { kind: "stay", roomId, stay };
    for (const key of sorted(entry.keys)) yield { kind: "key", roomId, key };
    for (const statement of sorted(entry.statements)) yield { kind: "statement", roomId, statement };
  }
}

function put(memory: Memory, row: SnapshotRow): void {
  if (row.kind === "user") memory.users.set(row.user.signPub, { ...row.user, revision: ++memory.revision });
  else if (row.kind === "invite") memory.invites.set(row.invite.id, row.invite);
  else if (row.kind === "room") {
    const known = memory.rooms.get(row.room.roomId);
    const room = { ...row.room, revision: known ? known.room.revision + 1 : row.room.version };
    const entry = known ?? createEntry(room);
    entry.room = room;
    memory.rooms.set(row.room.roomId, entry);
  } else {
    const entry = memory.rooms.get(row.roomId);
    if (!entry) throw new UnibusError("invalid", `the room ${row.roomId} comes after its parts (write it first)`);
    if (row.kind === "key") entry.keys.set(keyKey(row.key), row.key);
    else if (row.kind === "statement") entry.statements.set(row.statement.version, row.statement);
    else {
      entry.stays.set(stayKey(row.stay), row.stay);
      // A deleted room that still has stays has not been purged yet: it keeps its subject.
      entry.claimsSubject = true;
    }
  }
}

const snapshot = (open: Open): Snapshot => ({
  async *exportAll() {
    yield* rowsOf(open());
  },
  async importAll(rows) {
    const memory = open();
    for await (const row of rows) put(memory, row);
    const admins = sorted(memory.users).filter((user) => user.role === "admin" && user.status === "active");
    memory.roster = { admins: admins.map((user) => user.signPub), revision: memory.roster.revision + 1 };
  },
  async backup(file) {
    const lines = [...rowsOf(open())].map((row) => `${JSON.stringify(row)}\n`);
    if (await Bun.file(file).exists()) throw conflict(`${file} already exists (choose another file)`);
    await Bun.write(file, lines);
  },
});

/** A store that loses everything when the server stops: for experiments, and as an example of a store plugin. */
export default definePlugin({
  name: "store-memory",
  api: 1,
  config: Type.Object({}),
  provides: { RoomStore, UserStore, InviteStore, Snapshot, WayBackStore },
  async setup(ctx) {
    const memory = new Memory();
    ctx.onStop(() => {
      memory.stopped = true;
    });
    const open = () => {
      if (memory.stopped) throw new UnibusError("unavailable", "the store has stopped");
      return memory;
    };
    return {
      services: {
        RoomStore: roomStore(open),
        UserStore: userStore(open),
        InviteStore: inviteStore(open),
        Snapshot: snapshot(open),
        WayBackStore: wayBackStore(open),
      },
      posture: { store: "memory" },
      health: async () => ({ ok: !memory.stopped }),
    };
  },
});
