/** Answers nats-server's auth callout requests and disconnects peers whose permissions have shrunk. */
import { Type } from "@sinclair/typebox";
import { Auth } from "../../contracts/auth.ts";
import { Connections } from "../../contracts/connections.ts";
import { grantOf } from "../../contracts/grant.ts";
import { Nats } from "../../contracts/nats.ts";
import { definePlugin } from "../../contracts/plugin.ts";
import { Rooms } from "../../contracts/rooms.ts";
import { UserStore } from "../../contracts/store.ts";
import { CalloutResponder } from "./callout.ts";
import { decisionOf } from "./decision.ts";
import { LoginGate } from "./gate.ts";
import { Listeners } from "./listeners.ts";
import { Logins } from "./logins.ts";
import { reconcile, startRevoker } from "./revoker.ts";
import { guardSubscriptions } from "./subscription-guard.ts";
import { dropUnasked, type UnaskedOptions } from "./unasked.ts";

const Config = Type.Object(
  {
    logins_per_second: Type.Optional(
      Type.Number({ exclusiveMinimum: 0, description: "logins per second from one address; bursts of twice as many" }),
    ),
    failed_logins_per_second: Type.Optional(
      Type.Number({
        exclusiveMinimum: 0,
        description: "failed logins per second from one address; bursts of twice as many",
      }),
    ),
    connections_per_user: Type.Optional(
      Type.Integer({ minimum: 1, description: "maximum simultaneous connections of one user" }),
    ),
  },
  { additionalProperties: false },
);

/** Default rate of logins from one address, per second. */
const loginsPerSecondDefault = 200;
/** Default rate of failed logins from one address, as a share of `logins_per_second`. */
const failedShare = 0.1;
/** Default limit on the connections of one user. Source: docs/protocol/logins.md. */
const connectionsPerUserDefault = 32;
/** Decides logins over the AUTH account. A missing answer, an error or an unknown key denies the login. */
export default definePlugin({
  name: "auth-callout",
  api: 1,
  config: Config,
  provides: { connections: Connections },
  requires: { auth: Auth, nats: Nats, rooms: Rooms, users: UserStore },
  async setup({ config, log, now, signal, onStop }, { auth, nats, rooms, users }) {
    const [connection, system, bus] = await Promise.all([
      nats.connection("AUTH"),
      nats.connection("SYS"),
      nats.connection("BUS"),
    ]);
    const isActive = async (endpoint: string) => (await users.getUserByEndpoint(endpoint))?.status === "active";
    const permissionsNow = async (endpoint: string) =>
      (await isActive(endpoint)) ? grantOf(endpoint, await rooms.accepted(endpoint)) : null;
    const logins = new Logins({ system, permissionsNow, log, now });
    const perSecond = config.logins_per_second ?? loginsPerSecondDefault;
    const rates = { logins: perSecond, failed: config.failed_logins_per_second ?? perSecond * failedShare };
    const decide = decisionOf({
      ...{ auth, logins, log, now },
      gate: new LoginGate(rates),
      listeners: new Listeners(system, nats),
      permissionsOf: async (endpoint) => grantOf(endpoint, await rooms.accepted(endpoint)),
      issuer: nats.issuer,
      proxy: nats.proxy,
      connectionsMax: config.connections_per_user ?? connectionsPerUserDefault,
      loginsPerSecond: perSecond,
    });

    const watched = () => nats.watched();
    const revoker = { system, bus, answering: connection, watched, logins, isActive, log, now, signal };
    const watching = startRevoker(revoker);
    void guardSubscriptions({ system, watched, logins, log, signal });
    const onUp = () => void dropUnasked(unasked);
    const questions = new CalloutResponder(connection, decide, { log, onUp });
    const unasked: UnaskedOptions = {
      ...{ system, answering: connection, watched, log },
      wasAsked: (place) => questions.wasAsked(place),
      drop: (place) => logins.drop(place),
    };
    onStop(() => {
      questions.stop();
      for (const subscription of watching) subscription.unsubscribe();
    });
    await bus.flush();
    onUp();
    await reconcile(revoker, "all");
    const connections: Connections = {
      list: async (after, limit) => logins.list(await nats.watched(), after, limit),
      countOf: (endpoint) => logins.countOf(endpoint),
    };
    return { services: { connections }, posture: { acl: "callout" } };
  },
});
