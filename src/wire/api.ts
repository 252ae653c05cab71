/**
 * The shape of every HTTP request and reply. Keys are hex, sealed keys and signatures base64-std, times RFC 3339 UTC
 * with milliseconds. Unknown fields are refused. Source: spec 6.
 */
import { type Static, type TProperties, type TSchema, Type } from "@sinclair/typebox";
import { devicePattern, endpointPattern, handleLengthMax, keyPattern, ulidPattern } from "./names.ts";

const Strict = <T extends TProperties>(properties: T) => Type.Object(properties, { additionalProperties: false });

/** A key in hex, either case. */
export const Key = Type.String({ pattern: keyPattern, description: "a 32-byte key in hex" });
/** An Ed25519 signature in base64-std. */
export const Signature = Type.String({
  pattern: "^[A-Za-z0-9+/]{85}[AQgw]==$",
  description: "an Ed25519 signature, base64-std",
});
/** A NaCl anonymous sealed box of a 32-byte key: 80 bytes in base64-std. */
export const SealedKey = Type.String({
  pattern: "^[A-Za-z0-9+/]{106}[AEIMQUYcgkosw048]=$",
  description: "a sealed room key, base64-std",
});
/** RFC 3339 UTC with milliseconds. */
export const Time = Type.String({ description: "RFC 3339 UTC with milliseconds" });
/** The name that people see, as it is given: `checkHandle` says whether it may be one. Not unique. */
export const Handle = Type.String({
  minLength: 1,
  maxLength: 4 * handleLengthMax,
  description: `1 to ${handleLengthMax} characters once composed (NFC) and trimmed, none of them invisible or a control`,
});
/** A user's role. */
export const UserRole = Type.Union([Type.Literal("admin"), Type.Literal("member")]);
/** A user's role. */
export type UserRole = Static<typeof UserRole>;
/** A member's role in a room. */
export const MemberRole = Type.Union([Type.Literal("owner"), Type.Literal("member")]);

const statement = { text: Type.String({ minLength: 1, maxLength: 16_384 }), by: Key, sig: Signature };
/** A signed room statement as a client sends it. */
export const Statement = Strict(statement);
/** A statement as one sends it. */
export type Statement = Static<typeof Statement>;

/** What a room demands of its frames. */
export const PolicyShape = Strict({ encrypt: Type.Boolean(), persist: Type.Boolean(), sign_msgs: Type.Boolean() });

const room = {
  room_id: Type.String(),
  subject: Type.String(),
  epoch: Type.Integer(),
  policy: PolicyShape,
};

/** A room, as its creation answers. */
export const Room = Strict({ ...room, created_at: Time });
/** A room, as a member sees it. */
export const RoomView = Strict({
  ...room,
  created_at: Time,
  role: MemberRole,
  version: Type.Integer(),
  rekey_pending: Type.Boolean(),
  bytes_max: Type.Integer(),
  when_full: Type.Union([Type.Literal("refuse"), Type.Literal("drop_oldest")]),
});
/** How many rooms one page of a member's rooms holds at most. Source: spec 6. */
export const roomsMax = 1_000;
/** Which of one's rooms are listed: those after a room id; only accepted, or only unaccepted ones. */
export const RoomsQuery = Type.Object({
  after: Type.Optional(Type.String({ pattern: ulidPattern })),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: roomsMax })),
  accepted: Type.Optional(Type.Boolean()),
});
/** A page of the rooms of one member, by room id. `added_by` is null for who came before that was recorded. */
export const RoomList = Type.Array(
  Strict({
    ...room,
    role: MemberRole,
    version: Type.Integer(),
    rekey_pending: Type.Boolean(),
    accepted: Type.Boolean(),
    live: Type.Boolean(),
    added_by: Type.Union([Type.String({ pattern: endpointPattern }), Type.Null()]),
  }),
);

/** POST /rooms. */
export const CreateRoom = Strict({ statement: Statement, sealed_key: Type.Optional(SealedKey) });

/** `{id}` of a room. */
export const RoomParams = Strict({ id: Type.String({ pattern: ulidPattern }) });
/** `{endpoint}` of a member. */
export const MemberParams = Strict({
  id: Type.String({ pattern: ulidPattern }),
  endpoint: Type.String({ pattern: endpointPattern }),
});
/** `{endpoint}` of a peer. */
export const EndpointParams = Strict({ endpoint: Type.String({ pattern: endpointPattern }) });

/** The most members of a room. Source: spec 3. */
export const membersMax = 5_000;

/** POST /rooms/{id}/members. */
export const AddMembers = Strict({
  members: Type.Array(
    Strict({ endpoint: Type.String({ pattern: endpointPattern }), sealed_key: Type.Optional(SealedKey) }),
    { minItems: 1, maxItems: membersMax },
  ),
  statement: Statement,
});

const KeyList = Type.Array(Strict({ endpoint: Type.String({ pattern: endpointPattern }), sealed_key: SealedKey }), {
  maxItems: membersMax,
});
/** POST /rooms/{id}/rekey, and the body of a kick: a sealed key for each member who stays. */
export const Rotate = Strict({ statement: Statement, keys: Type.Optional(KeyList) });
/** PUT /rooms/{id}/members/{endpoint}/role. */
export const SetRole = Strict({ role: MemberRole, statement: Statement });

/** One stay of one member: the line that the members hash covers, and what a reader needs beside it. */
export const Member = Strict({
  endpoint: Type.String(),
  sign_pub: Type.String(),
  kex_pub: Type.String(),
  kex_sig: Type.String(),
  role: MemberRole,
  since: Type.Integer(),
  until: Type.Integer(),
  left: Type.Boolean(),
  handle: Type.String(),
});
/** GET /rooms/{id}/members: every line. */
export const MemberList = Strict({ version: Type.Integer(), members: Type.Array(Member) });

/** The largest body of PUT /rooms/{id}/restore, in bytes. Source: spec 3. */
export const restoreBytesMax = 32 * 1_048_576;
/** One statement of a chain, as GET statements gives it: the version may be left out. */
export const RestoredStatement = Strict({ ...statement, version: Type.Optional(Type.Integer()) });
/** One line of a room that is restored, as GET members gives it. Further fields of that reply count for nothing. */
export const RestoredMember = Type.Object({
  endpoint: Type.String({ pattern: endpointPattern }),
  sign_pub: Type.String({ pattern: "^[0-9a-f]{64}$" }),
  kex_pub: Type.String({ pattern: "^[0-9a-f]{64}$" }),
  kex_sig: Signature,
  role: MemberRole,
  since: Type.Integer({ minimum: 1, maximum: 2_147_483_647 }),
  until: Type.Integer({ minimum: 0, maximum: 2_147_483_647 }),
  left: Type.Boolean(),
  handle: Type.String({ maxLength: 1_024 }),
});
/** The room key of one epoch, sealed to one member. */
export const RestoredKey = Strict({
  endpoint: Type.String({ pattern: endpointPattern }),
  epoch: Type.Integer({ minimum: 1, maximum: 2_147_483_647 }),
  sealed_key: SealedKey,
});
/** PUT /rooms/{id}/restore: what an owner gives back to a bus that was restored from an older backup. */
export const Restore = Strict({
  statements: Type.Array(RestoredStatement),
  members: Type.Array(RestoredMember),
  keys: Type.Array(RestoredKey),
});
/** PUT /rooms/{id}/restore. */
export type Restore = Static<typeof Restore>;

/** GET /way-back: whether rooms can be restored, and the chains that an admin has to choose from. */
export const WayBackReport = Strict({
  open: Type.Boolean(),
  opened_at: Type.Union([Time, Type.Null()]),
  closes_at: Type.Union([Time, Type.Null()]),
  contested: Type.Array(
    Strict({
      room_id: Type.String(),
      subject: Type.Union([Type.String(), Type.Null()]),
      version: Type.Integer(),
      hash: Type.String(),
      by: Type.String(),
      at: Time,
      taken: Type.Boolean(),
    }),
  ),
  more: Type.Boolean(),
});
/** PUT /rooms/{id}/way-back: the chain that an admin admits, by the hash of its newest statement. */
export const TakeChain = Strict({ hash: Type.String({ pattern: "^[0-9a-f]{64}$" }) });

/** What a change of members answers: the room's new version. */
export const Members = Strict({ version: Type.Integer() });

/** ?from= of the statements, a version. */
export const StatementsQuery = Type.Object({
  from: Type.Optional(Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER })),
});
/** How many statements one reply holds. Source: spec 6. */
export const statementsMax = 1_000;
/** GET /rooms/{id}/statements. */
export const StatementList = Strict({
  statements: Type.Array(
    Strict({ version: Type.Integer(), text: Type.String(), by: Type.String(), sig: Type.String() }),
  ),
  more: Type.Boolean(),
});

/** ?epoch= of a key; the latest where it is absent. */
export const KeyQuery = Type.Object({
  epoch: Type.Optional(Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER })),
});
/** GET /rooms/{id}/key. */
export const RoomKey = Strict({ epoch: Type.Integer(), sealed_key: Type.String() });

/** How many frames a history reply holds, at most, and where nothing is asked. Source: spec 8. */
export const historyLimit = { max: 1_000, default: 200 } as const;
/** How many bytes of frames a history reply holds. Source: spec 8. */
export const historyBytesMax = 8 * 1_048_576;
/** ?limit=&before= of a history; whatever is no number counts as absent in `limit`. */
export const HistoryQuery = Type.Object({
  limit: Type.Optional(Type.String()),
  before: Type.Optional(Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })),
});
/** GET /rooms/{id}/history: frames exactly as published, base64-std, oldest first. */
export const History = Strict({
  messages: Type.Array(Type.String()),
  first_seq: Type.Integer(),
  last_seq: Type.Integer(),
  more: Type.Boolean(),
});

/** ?device= of a durable. */
export const DeviceQuery = Type.Object({ device: Type.Optional(Type.String({ pattern: devicePattern })) });

/** What PUT /rooms/{id}/durable answers. */
export const DurableBound = Strict({ stream: Type.String(), consumer: Type.String(), deliver: Type.String() });
/** Devices of one member in one room, at most. Source: spec 8. */
export const devicesMax = 8;

/** How many users one page holds, at most and where nothing is asked. Source: spec 6. */
export const usersPageMax = 1_000;
const PageLimit = Type.Optional(
  Type.Integer({ minimum: 1, maximum: usersPageMax, description: `users of a page, ${usersPageMax} by default` }),
);

/** ?handle=&endpoint=&sign_pub=&after=&limit= of the directory. What is given narrows the answer. */
export const DirectoryQuery = Type.Object({
  handle: Type.Optional(
    Type.String({ maxLength: 2 * handleLengthMax, description: "every user whose handle has the same look" }),
  ),
  endpoint: Type.Optional(Type.String({ pattern: endpointPattern })),
  sign_pub: Type.Optional(Key),
  after: Type.Optional(Type.String({ pattern: endpointPattern, description: "the last endpoint of the page before" })),
  limit: PageLimit,
});
/** GET /directory: active users only, by endpoint. */
export const Directory = Strict({
  members: Type.Array(
    Strict({
      sign_pub: Type.String(),
      endpoint: Type.String(),
      handle: Type.String(),
      role: UserRole,
      kex_pub: Type.Union([Type.String(), Type.Null()]),
      kex_sig: Type.Union([Type.String(), Type.Null()]),
    }),
  ),
  more: Type.Boolean({ description: "whether users follow the last of these" }),
});

/** PUT /users/me/keys. */
export const PutKeys = Strict({ kex_pub: Key, kex_sig: Signature });

/** GET /info: what a client needs beside the control URL. */
export const Info = Strict({
  name: Type.String(),
  version: Type.String(),
  auth: Type.String(),
  nats: Type.Array(Type.String()),
  ws: Type.Array(Type.String()),
  namespaces: Type.Array(Type.String()),
  time: Time,
});
/** What GET /info answers. */
export type Info = Static<typeof Info>;

/** GET /healthz: the process lives, and under which rules. */
export const HealthReport = Strict({
  status: Type.Literal("ok"),
  version: Type.String(),
  posture: Type.Record(Type.String(), Type.String()),
  flags: Type.Record(Type.String(), Type.Boolean()),
});
/** GET /readyz: whether each plugin can work. */
export const ReadinessReport = Strict({
  ready: Type.Boolean(),
  plugins: Type.Record(Type.String(), Strict({ ok: Type.Boolean(), detail: Type.Optional(Type.String()) })),
});
/** Whether every plugin can do its work, and what each of them reports. */
export type ReadinessReport = Static<typeof ReadinessReport>;

/** Every reply that is no success. */
export const ErrorReply = Strict({
  error: Type.String(),
  code: Type.String(),
  details: Type.Optional(
    Type.Record(Type.String(), Type.Unknown(), { description: "for programs, where there are any" }),
  ),
});

/** The largest JSON body, in bytes. Source: spec 5. */
export const bodyBytesMax = 1_048_576;
/** What all bodies in memory may hold together, in bytes. Source: spec 5. */
export const bodiesBytesMax = 64 * 1_048_576;

const Nullable = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()]);

/** ?after=&limit= of the list of users. */
export const UsersQuery = Type.Object({
  after: Type.Optional(Type.String({ pattern: keyPattern, description: "the last sign_pub of the page before" })),
  limit: PageLimit,
});
/** GET /users: everybody, also the revoked, by sign_pub. */
export const UserList = Strict({
  users: Type.Array(
    Strict({
      sign_pub: Type.String(),
      endpoint: Type.String(),
      kex_pub: Nullable(Type.String()),
      kex_sig: Nullable(Type.String()),
      handle: Type.String(),
      role: UserRole,
      status: Type.Union([Type.Literal("active"), Type.Literal("revoked")]),
      created_at: Time,
      revoked_at: Nullable(Time),
    }),
  ),
  more: Type.Boolean({ description: "whether users follow the last of these" }),
});

/** POST /users. */
export const AddUser = Strict({
  sign_pub: Key,
  handle: Handle,
  role: UserRole,
  kex_pub: Type.Optional(Key),
  kex_sig: Type.Optional(Signature),
});
/** What POST /users answers. */
export const UserAdded = Strict({ sign_pub: Type.String(), endpoint: Type.String() });

/** PUT /users/{sign_pub}. */
export const RenameUser = Strict({ handle: Handle });

/** `{sign_pub}` of a user. */
export const UserParams = Strict({ sign_pub: Key });

/** How long an invite is good where nothing is asked, and at most, in seconds. Source: spec 7. */
export const inviteTtlS = { default: 7 * 86_400, max: 366 * 86_400 } as const;

/** POST /invites. */
export const CreateInvite = Strict({
  handle: Handle,
  role: Type.Optional(UserRole),
  ttl_s: Type.Optional(Type.Integer({ minimum: 1, maximum: inviteTtlS.max, description: "seconds, 1 to a year" })),
});
/** What POST /invites answers: the token is shown this once. */
export const InviteCreated = Strict({ id: Type.String(), token: Type.String(), expires_at: Time, link: Type.String() });
/** GET /invites: pending ones, without their tokens. */
export const InviteList = Strict({
  invites: Type.Array(
    Strict({ id: Type.String(), handle: Type.String(), role: UserRole, created_at: Time, expires_at: Time }),
  ),
});
/** `{id}` of an invite. */
export const InviteParams = Strict({ id: Type.String({ pattern: "^[0-9a-f]{32}$" }) });

/** POST /register. */
export const Register = Strict({
  token: Type.String({ minLength: 1, maxLength: 256, description: "what follows # in the join link" }),
  sign_pub: Key,
  kex_pub: Key,
  kex_sig: Signature,
});
/** What POST /register answers. */
export const Registered = Strict({
  sign_pub: Type.String(),
  endpoint: Type.String(),
  handle: Type.String(),
  role: UserRole,
});
/** What POST /register answers. */
export type Registered = Static<typeof Registered>;
/** The largest body of POST /register, in bytes. Source: spec 5. */
export const registerBytesMax = 4_096;

/** The largest blob, in bytes. Source: spec 5. */
export const blobBytesMax = 16 * 1_048_576;
/** What POST /blobs answers. */
export const BlobStored = Strict({ hash: Type.String() });
/** `{hash}` of a blob. */
export const BlobParams = Strict({ hash: Type.String({ pattern: "^[0-9a-f]{64}$" }) });
