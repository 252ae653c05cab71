/**
 * Users: the directory for every user, the caller's own kex key, and the routes of admins.
 * Routes only; rules.ts has the rules. Other plugins use them as `Users`.
 */
import { Type } from "@sinclair/typebox";
import { audit } from "../../contracts/audit.ts";
import { Denials } from "../../contracts/denials.ts";
import { Nats } from "../../contracts/nats.ts";
import { Notices } from "../../contracts/notices.ts";
import { definePlugin, type Log, type Route, route } from "../../contracts/plugin.ts";
import { RoomStore, type UserRecord, UserStore } from "../../contracts/store.ts";
import { RoomStreams } from "../../contracts/streams.ts";
import { Users } from "../../contracts/users.ts";
import { usersPageMax } from "../../wire/api.ts";
import { endpointId, normalKey } from "../../wire/names.ts";
import { routes } from "../../wire/routes.ts";
import { directoryPage } from "./directory.ts";
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

const everyUser = (user: UserRecord) => ({
  ...publicUser(user),
  status: user.status,
  created_at: time(user.createdAt),
  revoked_at: user.revokedAt === null ? null : time(user.revokedAt),
});

/** The routes for every user. */
function userRoutes(store: UserStore): Route[] {
  return [
    route(routes.users.directory, async ({ query }) => {
      const { users: members, more } = await directoryPage(store, query);
      return { members: members.map(publicUser), more };
    }),
    route(routes.users.putKeys, async (call) => {
      const { kex_pub, kex_sig } = await call.read();
      await setKexKey(store, call.caller.signPub, kex_pub, kex_sig);
      return undefined;
    }),
  ];
}

/** The user that a request changes, for the log. */
const userOf = ({ params }: { readonly params: { readonly sign_pub: string } }) => ({
  user: endpointId(normalKey(params.sign_pub)),
});

/** The routes for admins. */
function adminRoutes(users: UserRules, log: Log): Route[] {
  return [
    route(routes.users.list, async ({ query: { after, limit = usersPageMax } }) => {
      const found = await users.list(after === undefined ? null : normalKey(after), limit + 1);
      return { users: found.slice(0, limit).map(everyUser), more: found.length > limit };
    }),
    route(routes.users.add, async (call) => {
      const { sign_pub, handle, role, kex_pub, kex_sig } = await call.read();
      const added = await users.add({ signPub: sign_pub, handle, role, kexPub: kex_pub, kexSig: kex_sig });
      audit(log, "user_added", call, { user: added.endpoint, handle: added.handle, role });
      return { sign_pub: added.signPub, endpoint: added.endpoint };
    }),
    route(routes.users.rename, async (call) => {
      const { handle } = await call.read();
      const stored = await users.rename(call.params.sign_pub, handle);
      audit(log, "user_renamed", call, { ...userOf(call), handle: stored });
      return undefined;
    }),
    route(routes.users.revoke, async (call) => {
      await users.revoke(call.params.sign_pub, { keepAdmin: true });
      audit(log, "user_revoked", call, userOf(call));
      return undefined;
    }),
    route(routes.users.restore, async (call) => {
      await users.restore(call.params.sign_pub);
      audit(log, "user_restored", call, userOf(call));
      return undefined;
    }),
    route(routes.users.remove, async (call) => {
      await users.remove(call.params.sign_pub, { keepAdmin: true });
      audit(log, "user_deleted", call, userOf(call));
      return undefined;
    }),
  ];
}

/** Provides the rules and routes of users. */
export default definePlugin({
  name: "users",
  api: 1,
  config: Type.Object({}, { additionalProperties: false }),
  provides: { users: Users },
  requires: { store: UserStore },
  optional: { rooms: RoomStore, streams: RoomStreams, nats: Nats, denials: Denials },
  routes: Object.values(routes.users),
  async setup({ now, log }, { store, rooms, streams, nats, denials }) {
    const users = new UserRules({ store, rooms, streams, notices: new Notices(nats), denials, now });
    return {
      async start() {
        if (denials !== undefined) return;
        const hint = 'add { "use": "denials" } to plugins.json';
        log.warn(`no denials plugin: restoring a backup would readmit users revoked since then (${hint})`);
      },
      services: { users },
      routes: [...userRoutes(store), ...adminRoutes(users, log)],
    };
  },
});
