/** Invites: how a person becomes a user without an admin ever seeing a private key. */
import { Type } from "@sinclair/typebox";
import { audit } from "../../contracts/audit.ts";
import { Denials } from "../../contracts/denials.ts";
import { Invites } from "../../contracts/invites.ts";
import { definePlugin, route } from "../../contracts/plugin.ts";
import { InviteStore, UserStore } from "../../contracts/store.ts";
import { Users } from "../../contracts/users.ts";
import { inviteTtlS } from "../../wire/api.ts";
import { joinLink } from "../../wire/names.ts";
import { routes } from "../../wire/routes.ts";
import { InviteRules } from "./rules.ts";

const time = (ms: number): string => new Date(ms).toISOString();

/** Provides the rules and routes of invites. */
export default definePlugin({
  name: "invites",
  api: 1,
  config: Type.Object({}, { additionalProperties: false }),
  provides: { invites: Invites },
  requires: { store: InviteStore, userStore: UserStore, users: Users },
  optional: { denials: Denials },
  routes: Object.values(routes.invites),
  async setup({ site, log, now }, { store, userStore, users, denials }) {
    const invites = new InviteRules({ store, userStore, users, denials, now });
    return {
      services: { invites },
      routes: [
        route(routes.invites.create, async (call) => {
          const { handle, role = "member", ttl_s = inviteTtlS.default } = await call.read();
          const { invite, token } = await invites.create({ handle, role, ttlS: ttl_s });
          audit(log, "invite_created", call, { invite: invite.id, handle: invite.handle, role });
          return { id: invite.id, token, expires_at: time(invite.expiresAt), link: joinLink(site.url(), token) };
        }),
        route(routes.invites.list, async () => ({
          invites: (await invites.pending()).map(({ id, handle, role, createdAt, expiresAt }) => ({
            ...{ id, handle, role, created_at: time(createdAt), expires_at: time(expiresAt) },
          })),
        })),
        route(routes.invites.cancel, async (call) => {
          await invites.cancel(call.params.id);
          audit(log, "invite_cancelled", call, { invite: call.params.id });
          return undefined;
        }),
        route(routes.invites.register, async (call) => {
          const { token, sign_pub, kex_pub, kex_sig } = await call.read();
          const user = await invites.redeem({ token, signPub: sign_pub, kexPub: kex_pub, kexSig: kex_sig });
          audit(log, "user_joined", call, { user: user.endpoint, handle: user.handle, role: user.role });
          return { sign_pub: user.signPub, endpoint: user.endpoint, handle: user.handle, role: user.role };
        }),
      ],
    };
  },
});
