/** The routes under /admin: what an admin needs to look after a bus. Metadata only, never content. */
import * as api from "./admin-api.ts";
import type { RouteSpec } from "./route.ts";

/** The routes of the plugin `admin`. */
export const adminRoutes = {
  rooms: {
    method: "GET",
    path: "/admin/rooms",
    access: "admin",
    summary: "Lists the live rooms, with members and stored bytes",
    query: api.AdminRoomsQuery,
    reply: api.AdminRooms,
    cost: "survey",
  },
  connections: {
    method: "GET",
    path: "/admin/connections",
    access: "admin",
    summary: "Lists the connections of this node's data plane",
    query: api.AdminConnectionsQuery,
    reply: api.AdminConnections,
    cost: "survey",
  },
  usage: {
    method: "GET",
    path: "/admin/usage",
    access: "admin",
    summary: "Lists what each user takes of the quotas",
    query: api.AdminUsageQuery,
    reply: api.AdminUsageList,
    cost: "survey",
  },
} as const satisfies Readonly<Record<string, RouteSpec>>;
