/** Users: the directory that everybody reads, one's own kex key, and what admins do. */
import { Type } from "@sinclair/typebox";
import { Nats } from "../../contracts/nats.ts";
import { Notices } from "../../contracts/notices.ts";
import { definePlugin, route } from "../../contracts/plugin.ts";
import { RoomStore, type UserRecord, UserStore } from "../../contracts/store.ts";
import { Users } from "../../contracts/users.ts";
import { AddUser, Directory, PutKeys, UserAdded, UserList, UserParams } from "../../wire/api.ts";
import { setKexKey, UserRules } from "./rules.ts";

const time = (ms: number): string => new Date(ms).toISOString();

const publicUser = ({ signPub, endpoint, handle, role, kexPub, kexSig }: UserRecord) => ({
  sign_pub: signPub,
  endpoint,
  handle,
  role,
  kex_pub: kexPub,
  kex_sig: kexSig,
});

/** Provides the users' rules and their routes. */
export default definePlugin({
  name: "users",
  api: 1,
  config: Type.Object({}, { additionalProperties: false }),
  provides: { users: Users },
  requires: { store: UserStore },
  optional: { rooms: RoomStore, nats: Nats },
  async setup({ now }, { store, rooms, nats }) {
    const users = new UserRules({ store, rooms, notices: new Notices(nats), now });
    return {
      services: { users },
      routes: [
        route("GET", "/directory", "signed", { summary: "Active users", reply: Directory }, async () => ({
          members: (await users.list()).filter(({ status }) => status === "active").map(publicUser),
        })),
        route(
          "PUT",
          "/users/me/keys",
          "signed",
          { summary: "One's own kex key, once", errors: ["not_found", "conflict"], body: PutKeys },
          async (call) => {
            const { kex_pub, kex_sig } = call.body;
            await setKexKey(store, call.caller.signPub, kex_pub, kex_sig);
            return undefined;
          },
        ),
        route("GET", "/users", "admin", { summary: "Every user", reply: UserList }, async () => ({
          users: (await users.list()).map((user) => ({
            ...publicUser(user),
            status: user.status,
            created_at: time(user.createdAt),
            revoked_at: user.revokedAt === null ? null : time(user.revokedAt),
          })),
        })),
        route(
          "POST",
          "/users",
          "admin",
          { summary: "Adds a user", errors: ["conflict"], body: AddUser, reply: UserAdded, status: 201 },
          async ({ body: { sign_pub, handle, role, kex_pub, kex_sig } }) => {
            const added = await users.add({ signPub: sign_pub, handle, role, kexPub: kex_pub, kexSig: kex_sig });
            return { sign_pub: added.signPub, endpoint: added.endpoint };
          },
        ),
        route(
          "POST",
          "/users/:sign_pub/revoke",
          "admin",
          {
            summary: "Takes a user's access away",
            errors: ["not_found", "conflict"],
            space: "frees",
            params: UserParams,
          },
          async ({ params }) => {
            await users.revoke(params.sign_pub, { keepAdmin: true });
            return undefined;
          },
        ),
        route(
          "DELETE",
          "/users/:sign_pub",
          "admin",
          { summary: "Removes a user", errors: ["not_found", "conflict"], space: "frees", params: UserParams },
          async ({ params }) => {
            await users.remove(params.sign_pub, { keepAdmin: true });
            return undefined;
          },
        ),
      ],
    };
  },
});
