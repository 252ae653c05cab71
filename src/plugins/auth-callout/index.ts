/** Answers nats-server's question who may log in, and with which permissions; cuts those who may do less by now. */
import { Type } from "@sinclair/typebox";
import { Auth } from "../../contracts/auth.ts";
import { Limiter } from "../../contracts/limiter.ts";
import { Nats } from "../../contracts/nats.ts";
import { definePlugin } from "../../contracts/plugin.ts";
import { Rooms } from "../../contracts/rooms.ts";
import { UserStore } from "../../contracts/store.ts";
import { clientKey } from "../../wire/address.ts";
import { reconcile, startCutter } from "./cutter.ts";
import { admission, denial, type LoginRequest } from "./jwt.ts";
import { Logins, userName } from "./logins.ts";
import { permissionsOf } from "./permissions.ts";
import { Questions } from "./questions.ts";

const Config = Type.Object(
  {
    logins_per_second: Type.Optional(
      Type.Number({ exclusiveMinimum: 0, description: "logins a second from one address, twice that at once" }),
    ),
    connections_per_user: Type.Optional(Type.Integer({ minimum: 1, description: "connections of one user at once" })),
  },
  { additionalProperties: false },
);

/** Logins a second from one address where nothing is set. */
const loginsPerSecondDefault = 200;
/** Connections of one user where nothing is set. Source: spec 9. */
const connectionsPerUserDefault = 32;
/** How long permissions hold, in seconds; it varies so that not all expire at once. Source: spec 9. */
const permissionsLife = { seconds: 3_600, spread: 0.1 } as const;

function expiry(nowS: number): number {
  const { seconds, spread } = permissionsLife;
  return Math.floor(nowS + seconds * (1 + spread * (2 * Math.random() - 1)));
}

/** Decides logins over the AUTH account. No answer, an error or an unknown key denies. */
export default definePlugin({
  name: "auth-callout",
  api: 1,
  config: Config,
  requires: { auth: Auth, nats: Nats, rooms: Rooms, users: UserStore },
  async setup({ config, log, now, signal, onStop }, { auth, nats, rooms, users }) {
    const [connection, system, bus] = await Promise.all([
      nats.connection("AUTH"),
      nats.connection("SYS"),
      nats.connection("BUS"),
    ]);
    const { issuer } = nats;
    const limiter = new Limiter(config.logins_per_second ?? loginsPerSecondDefault);
    const connectionsMax = config.connections_per_user ?? connectionsPerUserDefault;
    const isActive = async (endpoint: string) => (await users.getUserByEndpoint(endpoint))?.status === "active";
    const permissionsNow = async (endpoint: string) =>
      (await isActive(endpoint)) ? permissionsOf(endpoint, await rooms.of(endpoint)) : null;
    const logins = new Logins({ system, permissionsNow, log, now });

    const answer = async (login: LoginRequest): Promise<string> => {
      const nowS = Math.floor(now() / 1000);
      try {
        limiter.demand(clientKey(login.address), now());
        const caller = await auth.login(login);
        if (caller === null || logins.countOf(caller.endpoint) >= connectionsMax)
          return denial(login, { issuer, nowS });
        const { endpoint } = caller;
        const permissions = permissionsOf(endpoint, await rooms.of(endpoint));
        logins.admit({ server: login.serverId, cid: login.cid }, endpoint, permissions);
        const name = userName(endpoint, permissions);
        return admission(login, { name, permissions, expiresAt: expiry(nowS) }, { issuer, nowS });
      } catch (error) {
        log.debug("a login was denied because it could not be decided", { cause: error });
        return denial(login, { issuer, nowS });
      }
    };

    const watched = () => nats.watched();
    const cutter = { system, bus, answering: connection, watched, logins, isActive, log, now, signal };
    const watching = startCutter(cutter);
    const questions = new Questions(connection, answer, log);
    onStop(() => {
      questions.stop();
      for (const subscription of watching) subscription.unsubscribe();
    });
    await bus.flush();
    await reconcile(cutter, "all");
    return { services: {}, posture: { acl: "callout" } };
  },
});
