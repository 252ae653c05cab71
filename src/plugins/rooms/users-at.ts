import type { UserRecord, UserStore } from "../../contracts/store.ts";

/** Who is looked up at once: one after the other, thousands take seconds where the store is not in this process. */
const lookUpsMax = 64;

/** The users of some endpoints, null for who is none. */
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
