/**
 * Lists for admins: the rooms, the connections, and what each user takes of the quotas. Metadata only, never content.
 * A page looks at a bounded number of records and yields to other requests in between.
 */
import { Type } from "@sinclair/typebox";
import { BlobStore } from "../../contracts/blobs.ts";
import { Connections } from "../../contracts/connections.ts";
import { definePlugin, type Route, route } from "../../contracts/plugin.ts";
import { type RoomRecord, RoomStore, type UserRecord, UserStore } from "../../contracts/store.ts";
import { RoomStreams } from "../../contracts/streams.ts";
import { sideBySide } from "../../lib/side-by-side.ts";
import { TimeSlices } from "../../lib/time-slices.ts";
import { type AdminRoom, type AdminUsage, adminPage } from "../../wire/admin-api.ts";
import { normalKey } from "../../wire/names.ts";
import { routes } from "../../wire/routes.ts";

/** How many records are looked up together, and how long the main thread may be busy with them, in milliseconds. */
const together = 2;
const sliceMs = 5;

const time = (ms: number): string => new Date(ms).toISOString();

/** The services that the lists are made from. */
interface Sources {
  readonly rooms: RoomStore;
  readonly users: UserStore;
  readonly streams?: RoomStreams | undefined;
  readonly blobs?: BlobStore | undefined;
  readonly connections?: Connections | undefined;
}

/** Looks up each record of a page, in small groups, so that other requests are served in between. */
async function inSlices<A, B>(records: readonly A[], look: (record: A) => Promise<B>): Promise<B[]> {
  const slices = new TimeSlices(sliceMs);
  const found: B[] = [];
  for (let at = 0; at < records.length; at += together) {
    found.push(...(await sideBySide(records.slice(at, at + together), look)));
    if (slices.isOver) await slices.rest();
  }
  return found;
}

/** The cursor of the next page: the key of the last record, if the page was full. */
function nextOf<T>(page: readonly T[], limit: number, keyOf: (record: T) => string): string | null {
  const last = page.length < limit ? undefined : page.at(-1);
  return last === undefined ? null : keyOf(last);
}

async function roomRow(room: RoomRecord, { rooms, streams }: Sources): Promise<AdminRoom> {
  const [members, size] = await Promise.all([
    rooms.countMembers(room.roomId),
    room.policy.persist ? streams?.sizeOf(room.roomId) : null,
  ]);
  const { roomId, subject, epoch, policy, createdAt, creator, version, rekeyPending } = room;
  return {
    ...{ room_id: roomId, subject, epoch, policy, created_at: time(createdAt), creator, version },
    ...{ rekey_pending: rekeyPending, members, messages: size?.messages ?? null, bytes: size?.bytes ?? null },
  };
}

async function usageRow(user: UserRecord, { rooms, blobs, connections }: Sources): Promise<AdminUsage> {
  const { signPub, endpoint, handle, role, status } = user;
  const [made, rowBytes, blobBytes] = await Promise.all([
    rooms.countRoomsBy(endpoint),
    rooms.rowBytesOf(endpoint),
    blobs?.bytesOf(endpoint) ?? null,
  ]);
  return {
    ...{ sign_pub: signPub, endpoint, handle, role, status, rooms: made, row_bytes: rowBytes },
    ...{ blob_bytes: blobBytes, connections: connections?.countOf(endpoint) ?? null },
  };
}

function adminRoutes(sources: Sources): Route[] {
  const { rooms, users, connections } = sources;
  return [
    route(routes.admin.rooms, async ({ query: { after = null, limit = adminPage.default } }) => {
      const page = await rooms.listRooms(after, limit);
      const live = page.filter(({ deletedAt }) => deletedAt === null);
      const rows = await inSlices(live, (room) => roomRow(room, sources));
      return { rooms: rows, next: nextOf(page, limit, ({ roomId }) => roomId) };
    }),
    route(routes.admin.connections, async ({ query: { after = "0", limit = adminPage.default } }) => {
      const page = (await connections?.list(Number(after), limit)) ?? [];
      const rows = await inSlices(page, async ({ endpoint, address, since }) => {
        const handle = (await users.getUserByEndpoint(endpoint))?.handle ?? null;
        return { endpoint, handle, address, since: time(since) };
      });
      return { connections: rows, next: nextOf(page, limit, ({ number }) => String(number)) };
    }),
    route(routes.admin.usage, async ({ query: { after, limit = adminPage.default } }) => {
      const page = await users.listUsers(after === undefined ? null : normalKey(after), limit);
      const usage = await inSlices(page, (user) => usageRow(user, sources));
      return { usage, next: nextOf(page, limit, ({ signPub }) => signPub) };
    }),
  ];
}

/** Serves the lists for admins. */
export default definePlugin({
  name: "admin",
  api: 1,
  config: Type.Object({}, { additionalProperties: false }),
  requires: { rooms: RoomStore, users: UserStore },
  optional: { streams: RoomStreams, blobs: BlobStore, connections: Connections },
  routes: Object.values(routes.admin),
  async setup(_, sources) {
    return { services: {}, routes: adminRoutes(sources) };
  },
});
