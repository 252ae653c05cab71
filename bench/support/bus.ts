import type { Identity } from "../../src/client/crypto/identity.ts";
import { type Folder, Server } from "../../test/support/executable.ts";
import { addUser, createRoom, type OwnRoom, policy, postUser } from "../../test/support/peer.ts";
import { each } from "./measure.ts";

/** How many rooms one user makes here. */
const roomsPerOwner = 500;

/** Settings under which no limit stands between a bench and the work. */
export const unlimited: readonly string[] = [
  ...["--set", "http.rate=10000000"],
  ...["--set", "rooms.statements_per_minute=0"],
];

/** Starts the executable without rate limits, in a folder of its own or in one that is kept. */
export function startBus(folder?: Folder): Promise<Server> {
  return Server.start({ args: unlimited, ...(folder === undefined ? {} : { folder }) });
}

/** Makes users: the first is an admin. */
export async function makeUsers(server: Server, count: number): Promise<Identity[]> {
  const admin = await addUser(server, "bench", { admin: true });
  const users = [admin];
  for (let index = 1; index < count; index++) users.push(await postUser(server, admin, `user${index}`));
  return users;
}

/** Makes persisted rooms, by as many owners as they need. */
export async function makeRooms(server: Server, count: number): Promise<OwnRoom[]> {
  const owners = await makeUsers(server, Math.ceil(count / roomsPerOwner));
  const rooms: OwnRoom[] = [];
  await each(count, 8, async (index) => {
    const owner = owners[index % owners.length];
    if (owner !== undefined) rooms.push(await createRoom(server, owner, policy("encrypt", "persist")));
  });
  return rooms;
}
