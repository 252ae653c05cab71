import type { UserRecord, UserStore } from "../../contracts/store.ts";

/** How many users are read concurrently. Sequential reads of thousands take seconds with a remote store. */
const lookUpsMax = 64;

/** Returns the users of some endpoints, with null for an endpoint without a user. */
export async function usersAt(users: UserStore, endpoints: readonly string[]): Promise<Map<string, UserRecord | null>> {
  const found = new Map<string, UserRecord | null>();
  for (let at = 0; at < endpoints.length; at += lookUpsMax) {
    const some = endpoints.slice(at, at + lookUpsMax);
    await Promise.all(
      some.map(async (endpoint) => {
        found.set(endpoint, await users.getUserByEndpoint(endpoint));
      }),
    );
  }
  return found;
}
