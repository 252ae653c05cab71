import type { Identity } from "../../src/client/crypto/identity.ts";
import { type Folder, Server } from "../../test/support/executable.ts";
import { addUser, createRoom, type OwnRoom, policy, postUser } from "../../test/support/peer.ts";
import { each } from "./measure.ts";

/** Number of rooms that one user creates. */
const roomsPerOwner = 500;

/** Settings that turn off every limit that would throttle a benchmark. */
export const unlimited: readonly string[] = [
  ...["--set", "http.rate=10000000"],
  ...["--set", "rooms.statements_per_minute=0"],
];

/** Starts the executable without rate limits, in a temporary folder or in the given one. */
export function startBus(folder?: Folder): Promise<Server> {
  return Server.start({ args: unlimited, ...(folder === undefined ? {} : { folder }) });
}

/** Creates users; the first one is an admin. */
export async function makeUsers(server: Server, count: number): Promise<Identity[]> {
  const admin = await addUser(server, "bench", { admin: true });
  const users = [admin];
  for (let index = 1; index < count; index++) users.push(await postUser(server, admin, `user${index}`));
  return users;
}

/** Creates persisted rooms, with as many owners as needed. */
export async function makeRooms(server: Server, count: number): Promise<OwnRoom[]> {
  const owners = await makeUsers(server, Math.ceil(count / roomsPerOwner));
  const rooms: OwnRoom[] = [];
  await each(count, 8, async (index) => {
    const owner = owners[index % owners.length];
    if (owner !== undefined) rooms.push(await createRoom(server, owner, policy("encrypt", "persist")));
  });
  return rooms;
}
