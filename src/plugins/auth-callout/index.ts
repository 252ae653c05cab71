/** Answers nats-server's question who may log in, and with which permissions. */
import { Type } from "@sinclair/typebox";
import type { Msg } from "nats";
import { Auth } from "../../contracts/auth.ts";
import { Nats } from "../../contracts/nats.ts";
import { definePlugin } from "../../contracts/plugin.ts";
import { Rooms } from "../../contracts/rooms.ts";
import { admission, denial, type LoginRequest, readLogin } from "./jwt.ts";
import { permissionsOf } from "./permissions.ts";

const subject = "$SYS.REQ.USER.AUTH";
const queue = "unibus";

/** How long permissions hold, in seconds; it varies so that not all expire at once. Source: spec 9. */
const permissionsLife = { seconds: 3_600, spread: 0.1 } as const;

/** Decides logins over the AUTH account. No answer, an error or an unknown key denies. */
export default definePlugin({
  name: "auth-callout",
  api: 1,
  config: Type.Object({}, { additionalProperties: false }),
  requires: { auth: Auth, nats: Nats, rooms: Rooms },
  async setup({ log, now, onStop }, { auth, nats, rooms }) {
    const connection = await nats.connection("AUTH");
    const { issuer } = nats;

    const answer = async (login: LoginRequest): Promise<string> => {
      const nowS = Math.floor(now() / 1000);
      try {
        const caller = await auth.login(login);
        if (caller === null) return denial(login, { issuer, nowS });
        const permissions = permissionsOf(caller.endpoint, await rooms.of(caller.endpoint));
        const { seconds, spread } = permissionsLife;
        const life = seconds * (1 + spread * (2 * Math.random() - 1));
        const peer = { name: caller.endpoint, permissions, expiresAt: Math.floor(nowS + life) };
        return admission(login, peer, { issuer, nowS });
      } catch (error) {
        log.warn("a login was denied because it could not be decided", { cause: error });
        return denial(login, { issuer, nowS });
      }
    };

    const decide = async (message: Msg): Promise<void> => {
      try {
        message.respond(await answer(readLogin(message.string())));
      } catch (error) {
        // No answer denies.
        log.warn("a login request could not be read", { cause: error });
      }
    };

    const subscription = connection.subscribe(subject, {
      queue,
      callback: (error, message) => {
        if (error === null) void decide(message);
      },
    });
    onStop(() => subscription.unsubscribe());
    await connection.flush();
    return { services: {}, posture: { acl: "callout" } };
  },
});
