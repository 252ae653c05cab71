/**
 * The TypeBox schemas of the requests and replies under /admin: lists for admins with metadata only, never content.
 * Every list has pages: `limit` is how many records one page looks at, so that a page costs the server a bounded time.
 * A page may return fewer, even none; the list ends where `next` is null. Source: docs/protocol/admin.md.
 */
import { type Static, type TSchema, Type } from "@sinclair/typebox";
import { PolicyShape, Time, UserRole } from "./api.ts";
import { endpointPattern, keyPattern, ulidPattern } from "./names.ts";

const strict = { additionalProperties: false } as const;

/** How many records a page of an admin list looks at. Source: docs/protocol/limits.md. */
export const adminPage = { default: 100, max: 200 } as const;

const Limit = Type.Optional(
  Type.Integer({
    minimum: 1,
    maximum: adminPage.max,
    description: `records per page, ${adminPage.default} by default`,
  }),
);
const afterText = "`next` of the previous page";
const Next = Type.Union([Type.String(), Type.Null()], { description: "`after` of the next page; null at the end" });
const Nullable = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()]);

/** The query of GET /admin/rooms. */
export const AdminRoomsQuery = Type.Object({
  after: Type.Optional(Type.String({ pattern: ulidPattern, description: afterText })),
  limit: Limit,
});
/**
 * A live room, as admins see it. `creator` is an endpoint. `messages` and `bytes` are those of its stream, and null if
 * the room is not persisted.
 */
export const AdminRoom = Type.Object(
  {
    room_id: Type.String(),
    subject: Type.String(),
    epoch: Type.Integer(),
    policy: PolicyShape,
    created_at: Time,
    creator: Type.String({ pattern: endpointPattern }),
    version: Type.Integer(),
    rekey_pending: Type.Boolean(),
    members: Type.Integer({ description: "members that are in the room now" }),
    messages: Nullable(Type.Integer()),
    bytes: Nullable(Type.Integer()),
  },
  strict,
);
/** The type of a room, as admins see it. */
export type AdminRoom = Static<typeof AdminRoom>;
/** The reply of GET /admin/rooms: live rooms by id. */
export const AdminRooms = Type.Object({ rooms: Type.Array(AdminRoom), next: Next }, strict);

/** The query of GET /admin/connections. */
export const AdminConnectionsQuery = Type.Object({
  after: Type.Optional(Type.String({ pattern: "^[0-9]{1,15}$", description: afterText })),
  limit: Limit,
});
/**
 * A connection to the data plane. `address` is the client's, and null if this node does not know it, because it did not
 * decide the login. `handle` is null if the user was deleted.
 */
export const AdminConnection = Type.Object(
  {
    endpoint: Type.String({ pattern: endpointPattern }),
    handle: Nullable(Type.String()),
    address: Nullable(Type.String()),
    since: Time,
  },
  strict,
);
/** The type of a connection to the data plane. */
export type AdminConnection = Static<typeof AdminConnection>;
/** The reply of GET /admin/connections: the connections to this node, the oldest first. */
export const AdminConnections = Type.Object({ connections: Type.Array(AdminConnection), next: Next }, strict);

/** The query of GET /admin/usage. */
export const AdminUsageQuery = Type.Object({
  after: Type.Optional(Type.String({ pattern: keyPattern, description: afterText })),
  limit: Limit,
});
/** What one user takes of the quotas. */
export const AdminUsage = Type.Object(
  {
    sign_pub: Type.String(),
    endpoint: Type.String({ pattern: endpointPattern }),
    handle: Type.String(),
    role: UserRole,
    status: Type.Union([Type.Literal("active"), Type.Literal("revoked")]),
    rooms: Type.Integer({ description: "live rooms that the user created: see rooms.per_user" }),
    row_bytes: Type.Integer({ description: "statements, members and keys charged to the user: rooms.rows_per_owner" }),
    blob_bytes: Nullable(Type.Integer({ description: "blobs charged to the user: blobs.bytes_per_user" })),
    connections: Nullable(Type.Integer({ description: "connections: auth-callout.connections_per_user" })),
  },
  strict,
);
/** The type of what one user takes of the quotas. */
export type AdminUsage = Static<typeof AdminUsage>;
/** The reply of GET /admin/usage: every user, including revoked ones, by sign_pub. */
export const AdminUsageList = Type.Object({ usage: Type.Array(AdminUsage), next: Next }, strict);
