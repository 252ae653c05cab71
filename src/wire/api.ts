/**
 * The TypeBox schema of every HTTP request and reply. The routes of the plugins validate with them, the client derives
 * its types from them, and the OpenAPI document is made of them.
 * Keys are hex, sealed keys and signatures are base64-std, times are RFC 3339 UTC with milliseconds. Unknown fields are
 * refused. Source: docs/reference/http.md.
 */
import { type Static, type TProperties, type TSchema, Type } from "@sinclair/typebox";
import { devicePattern, endpointPattern, handleLengthMax, keyPattern, ulidPattern } from "./names.ts";

export * from "./api-messages.ts";

const Strict = <T extends TProperties>(properties: T) => Type.Object(properties, { additionalProperties: false });

/** A 32-byte key in hex, upper or lower case. */
export const Key = Type.String({ pattern: keyPattern, description: "a 32-byte key in hex" });
/** An Ed25519 signature in base64-std. */
export const Signature = Type.String({
  pattern: "^[A-Za-z0-9+/]{85}[AQgw]==$",
  description: "an Ed25519 signature, base64-std",
});
/** A 32-byte key in a NaCl anonymous sealed box: 80 bytes in base64-std. */
export const SealedKey = Type.String({
  pattern: "^[A-Za-z0-9+/]{106}[AEIMQUYcgkosw048]=$",
  description: "a sealed room key, base64-std",
});
/** A time in RFC 3339 UTC with milliseconds. */
export const Time = Type.String({ description: "RFC 3339 UTC with milliseconds" });
/** A user's display name, as the client sends it; `checkHandle` decides whether it is allowed. Not unique. */
export const Handle = Type.String({
  minLength: 1,
  maxLength: 4 * handleLengthMax,
  description: `1 to ${handleLengthMax} characters after NFC and trimming, without invisible or control characters`,
});
/** A user's role. */
export const UserRole = Type.Union([Type.Literal("admin"), Type.Literal("member")]);
/** The type of a user's role. */
export type UserRole = Static<typeof UserRole>;
/** A member's role in a room. */
export const MemberRole = Type.Union([Type.Literal("owner"), Type.Literal("member")]);

const statement = { text: Type.String({ minLength: 1, maxLength: 16_384 }), by: Key, sig: Signature };
/** A signed room statement as a client sends it. */
export const Statement = Strict(statement);
/** The type of a signed room statement as a client sends it. */
export type Statement = Static<typeof Statement>;

/** A room's policy: whether its messages are encrypted, stored and signed. */
export const PolicyShape = Strict({ encrypt: Type.Boolean(), persist: Type.Boolean(), sign_msgs: Type.Boolean() });

const room = {
  room_id: Type.String(),
  subject: Type.String(),
  epoch: Type.Integer(),
  policy: PolicyShape,
};

/** Where a room's messages are stored, as its members see it. */
const storage = {
  stream: Type.Union([Type.String(), Type.Null()], {
    description: "the stream that acknowledges messages; null if the room stores none",
  }),
  full: Type.Boolean({ description: "the room refuses messages, because it has reached `bytes_max`" }),
};

/** A room, as POST /rooms returns it. */
export const Room = Strict({ ...room, created_at: Time });
/** A room, as one of its members sees it. */
export const RoomView = Strict({
  ...room,
  created_at: Time,
  role: MemberRole,
  version: Type.Integer(),
  rekey_pending: Type.Boolean(),
  ...storage,
  bytes_max: Type.Integer(),
  when_full: Type.Union([Type.Literal("refuse"), Type.Literal("drop_oldest")]),
});
/** The most rooms on one page of a member's room list. Source: docs/reference/http.md. */
export const roomsMax = 1_000;
/** The query of the room list: only rooms after a room id, and only accepted or only unaccepted ones. */
export const RoomsQuery = Type.Object({
  after: Type.Optional(Type.String({ pattern: ulidPattern })),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: roomsMax })),
  accepted: Type.Optional(Type.Boolean()),
});
/** A page of one member's rooms, sorted by room id. `added_by` is null for members added before the bus recorded it. */
export const RoomList = Type.Array(
  Strict({
    ...room,
    role: MemberRole,
    version: Type.Integer(),
    rekey_pending: Type.Boolean(),
    ...storage,
    accepted: Type.Boolean(),
    live: Type.Boolean(),
    added_by: Type.Union([Type.String({ pattern: endpointPattern }), Type.Null()]),
  }),
);

/** The body of POST /rooms. */
export const CreateRoom = Strict({ statement: Statement, sealed_key: Type.Optional(SealedKey) });

/** The `{id}` path parameter of a room. */
export const RoomParams = Strict({ id: Type.String({ pattern: ulidPattern }) });
/** The `{id}` and `{endpoint}` path parameters of a room member. */
export const MemberParams = Strict({
  id: Type.String({ pattern: ulidPattern }),
  endpoint: Type.String({ pattern: endpointPattern }),
});
/** The `{endpoint}` path parameter of a user. */
export const EndpointParams = Strict({ endpoint: Type.String({ pattern: endpointPattern }) });

/** The most members that a room may have. Source: docs/protocol/rooms.md. */
export const membersMax = 5_000;

/** The body of POST /rooms/{id}/members. */
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
/** The body of POST /rooms/{id}/rekey, and of a kick: a sealed key for each member who remains. */
export const Rotate = Strict({ statement: Statement, keys: Type.Optional(KeyList) });
/** The body of PUT /rooms/{id}/members/{endpoint}/role. */
export const SetRole = Strict({ role: MemberRole, statement: Statement });

/** One membership period (a "stay") of one member: the line that the members hash covers, plus what a reader needs. */
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
/** The reply of GET /rooms/{id}/members: every membership period, current and past. */
export const MemberList = Strict({ version: Type.Integer(), members: Type.Array(Member) });

/** The largest body of PUT /rooms/{id}/restore, in bytes. Source: docs/protocol/rooms.md. */
export const restoreBytesMax = 32 * 1_048_576;
/** One statement of a chain, as GET statements returns it. The version is optional. */
export const RestoredStatement = Strict({ ...statement, version: Type.Optional(Type.Integer()) });
/** One member line of a room to restore, as GET members returns it. Other fields of that reply are ignored. */
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
/** The body of PUT /rooms/{id}/restore: a room that an owner brings back to a bus restored from an older backup. */
export const Restore = Strict({
  statements: Type.Array(RestoredStatement),
  members: Type.Array(RestoredMember),
  keys: Type.Array(RestoredKey),
});
/** The type of the body of PUT /rooms/{id}/restore. */
export type Restore = Static<typeof Restore>;

/** The reply of GET /way-back: whether rooms can be restored now, and the rival chains that an admin chooses from. */
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
/** The body of PUT /rooms/{id}/way-back: the chain that an admin accepts, named by the hash of its newest statement. */
export const TakeChain = Strict({ hash: Type.String({ pattern: "^[0-9a-f]{64}$" }) });

/** The reply to a change of members: the room's new version. */
export const Members = Strict({ version: Type.Integer() });

/** The query of GET statements: `from` is the first version to return. */
export const StatementsQuery = Type.Object({
  from: Type.Optional(Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER })),
});
/** The most statements in one reply. Source: docs/reference/http.md. */
export const statementsMax = 1_000;
/** The reply of GET /rooms/{id}/statements. */
export const StatementList = Strict({
  statements: Type.Array(
    Strict({ version: Type.Integer(), text: Type.String(), by: Type.String(), sig: Type.String() }),
  ),
  more: Type.Boolean(),
});

/** The query of GET key: the epoch, or the latest if absent. */
export const KeyQuery = Type.Object({
  epoch: Type.Optional(Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER })),
});
/** The reply of GET /rooms/{id}/key. */
export const RoomKey = Strict({ epoch: Type.Integer(), sealed_key: Type.String() });

/** The query that names the device of a durable. */
export const DeviceQuery = Type.Object({ device: Type.Optional(Type.String({ pattern: devicePattern })) });

/** The reply of PUT /rooms/{id}/durable. */
export const DurableBound = Strict({ stream: Type.String(), consumer: Type.String(), deliver: Type.String() });
/** The most devices of one member in one room. Source: docs/protocol/durables.md. */
export const devicesMax = 8;

/** The most users on one page, and the default. Source: docs/reference/http.md. */
export const usersPageMax = 1_000;
const PageLimit = Type.Optional(
  Type.Integer({ minimum: 1, maximum: usersPageMax, description: `users per page, ${usersPageMax} by default` }),
);

/** The query of GET /directory. Each parameter that is present narrows the result. */
export const DirectoryQuery = Type.Object({
  handle: Type.Optional(
    Type.String({ maxLength: 2 * handleLengthMax, description: "finds handles that look like this one" }),
  ),
  endpoint: Type.Optional(Type.String({ pattern: endpointPattern })),
  sign_pub: Type.Optional(Key),
  after: Type.Optional(Type.String({ pattern: endpointPattern, description: "the previous page's last endpoint" })),
  limit: PageLimit,
});
/** The reply of GET /directory: active users only, sorted by endpoint. */
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
  more: Type.Boolean({ description: "whether there is another page" }),
});

/** The body of PUT /users/me/keys. */
export const PutKeys = Strict({ kex_pub: Key, kex_sig: Signature });

/** The version of the protocol that docs/protocol specifies, as `/info` reports it. */
export const protocolVersion = 1;
/** The reply of GET /info: what a client needs to know besides the control URL. */
export const Info = Strict({
  name: Type.String(),
  version: Type.String(),
  protocol: Type.Integer({
    description: "the version of the protocol, which changes only if older clients cannot go on",
  }),
  auth: Type.String(),
  nats: Type.Array(Type.String()),
  ws: Type.Array(Type.String()),
  public_url: Type.Optional(Type.String({ description: "the URL that links to this bus begin with" })),
  namespaces: Type.Array(Type.String()),
  time: Time,
});
/** The type of the reply of GET /info. */
export type Info = Static<typeof Info>;

/** The reply of GET /healthz: the process is alive, and this is its security posture. */
export const HealthReport = Strict({
  status: Type.Literal("ok"),
  version: Type.String(),
  posture: Type.Record(Type.String(), Type.String()),
  flags: Type.Record(Type.String(), Type.Boolean()),
});
/** The reply of GET /readyz: whether each plugin can work. */
export const ReadinessReport = Strict({
  ready: Type.Boolean(),
  plugins: Type.Record(Type.String(), Strict({ ok: Type.Boolean(), detail: Type.Optional(Type.String()) })),
});
/** The type of the readiness report: whether every plugin can work, and the state of each. */
export type ReadinessReport = Static<typeof ReadinessReport>;

/** The body of every error reply. */
export const ErrorReply = Strict({
  error: Type.String(),
  code: Type.String(),
  details: Type.Optional(
    Type.Record(Type.String(), Type.Unknown(), { description: "machine-readable details, if there are any" }),
  ),
});

/** The largest JSON body, in bytes. Source: docs/protocol/limits.md. */
export const bodyBytesMax = 1_048_576;
/** The most bytes that all request bodies in memory may use together. Source: docs/protocol/limits.md. */
export const bodiesBytesMax = 64 * 1_048_576;

const Nullable = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()]);

/** The query of GET /users. */
export const UsersQuery = Type.Object({
  after: Type.Optional(Type.String({ pattern: keyPattern, description: "the previous page's last sign_pub" })),
  limit: PageLimit,
});
/** The reply of GET /users: every user, including revoked ones, sorted by sign_pub. */
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
  more: Type.Boolean({ description: "whether there is another page" }),
});

/** The body of POST /users. */
export const AddUser = Strict({
  sign_pub: Key,
  handle: Handle,
  role: UserRole,
  kex_pub: Type.Optional(Key),
  kex_sig: Type.Optional(Signature),
});
/** The reply of POST /users. */
export const UserAdded = Strict({ sign_pub: Type.String(), endpoint: Type.String() });

/** The body of PUT /users/{sign_pub}. */
export const RenameUser = Strict({ handle: Handle });

/** The `{sign_pub}` path parameter of a user. */
export const UserParams = Strict({ sign_pub: Key });

/** The default and the longest lifetime of an invite, in seconds. Source: docs/protocol/identity.md. */
export const inviteTtlS = { default: 7 * 86_400, max: 366 * 86_400 } as const;

/** The body of POST /invites. */
export const CreateInvite = Strict({
  handle: Handle,
  role: Type.Optional(UserRole),
  ttl_s: Type.Optional(Type.Integer({ minimum: 1, maximum: inviteTtlS.max, description: "seconds, up to 366 days" })),
});
/** The reply of POST /invites. The token is shown only this once. */
export const InviteCreated = Strict({ id: Type.String(), token: Type.String(), expires_at: Time, link: Type.String() });
/** The reply of GET /invites: pending invites, without their tokens. */
export const InviteList = Strict({
  invites: Type.Array(
    Strict({ id: Type.String(), handle: Type.String(), role: UserRole, created_at: Time, expires_at: Time }),
  ),
});
/** The `{id}` path parameter of an invite. */
export const InviteParams = Strict({ id: Type.String({ pattern: "^[0-9a-f]{32}$" }) });

/** The body of POST /register. */
export const Register = Strict({
  token: Type.String({ minLength: 1, maxLength: 256, description: "the part of the join link after #" }),
  sign_pub: Key,
  kex_pub: Key,
  kex_sig: Signature,
});
/** The reply of POST /register. */
export const Registered = Strict({
  sign_pub: Type.String(),
  endpoint: Type.String(),
  handle: Type.String(),
  role: UserRole,
});
/** The type of the reply of POST /register. */
export type Registered = Static<typeof Registered>;
/** The largest body of POST /register, in bytes. Source: docs/protocol/limits.md. */
export const registerBytesMax = 4_096;
