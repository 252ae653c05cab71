/**
 * Decides one login: checks its signature, paces it, counts it, and gives it its permissions.
 *
 * Three ends: an admission; a denial, for who may not log in however often they try; and no answer, where the login
 * came too fast or could not be decided now. Then its connection is dropped before nats-server reports an authorization
 * error (which it does 10 s after a login without an answer): clients retry after a break, and give up after an error.
 * Source: spec 9.
 */
import type { Auth, Caller, Origin } from "../../contracts/auth.ts";
import type { Nats } from "../../contracts/nats.ts";
import type { Log } from "../../contracts/plugin.ts";
import { TokenBucket } from "../../lib/token-bucket.ts";
import { clientKey } from "../../wire/address.ts";
import { holdMsMax, type LoginGate } from "./gate.ts";
import { admission, denial, type LoginRequest, type Permissions } from "./jwt.ts";
import type { Listeners } from "./listeners.ts";
import { type Logins, userName } from "./logins.ts";

/** How long permissions hold, in seconds; it varies so that not all expire at once. Source: spec 9. */
const permissionsLife = { seconds: 3_600, spread: 0.1 } as const;
/** How often the log says that logins were dropped, in seconds. */
const tellEveryS = 10;

function expiry(nowS: number): number {
  const { seconds, spread } = permissionsLife;
  return Math.floor(nowS + seconds * (1 + spread * (2 * Math.random() - 1)));
}

/** What decides logins. */
export interface DecisionOptions {
  readonly auth: Auth;
  readonly gate: LoginGate;
  readonly listeners: Listeners;
  readonly logins: Logins;
  /** What a peer may do now. */
  readonly permissionsOf: (endpoint: string) => Promise<Permissions>;
  readonly issuer: Nats["issuer"];
  /** What the WebSocket proxy knows of its clients; undefined if there is no proxy. */
  readonly proxy: Nats["proxy"];
  /** Connections of one user. */
  readonly connectionsMax: number;
  /** The setting, for the log. */
  readonly loginsPerSecond: number;
  readonly log: Log;
  readonly now: () => number;
}

/** Makes what answers a login: a JWT, or null if there is to be no answer. It never fails. */
export function decisionOf(options: DecisionOptions): (login: LoginRequest) => Promise<string | null> {
  const { auth, gate, listeners, logins, issuer, proxy, connectionsMax, log, now } = options;
  const told = new TokenBucket(1, 1 / tellEveryS);

  const deny = (login: LoginRequest, why: string): string => {
    log.info("login refused", { address: originOf(login)?.address ?? login.address, why });
    return denial(login, { issuer, nowS: Math.floor(now() / 1000) });
  };

  const admit = async (login: LoginRequest, { endpoint }: Caller): Promise<string | null> => {
    const place = { server: login.serverId, cid: login.cid };
    const room = await logins.reserve(place, endpoint, connectionsMax);
    if (room === "unsure") return null;
    if (room === "full") {
      return deny(login, `${endpoint} has ${connectionsMax} connections (close one, or set connections_per_user)`);
    }
    try {
      const permissions = await options.permissionsOf(endpoint);
      logins.admit(place, endpoint, permissions);
      const nowS = Math.floor(now() / 1000);
      const peer = { name: userName(endpoint, permissions), permissions, expiresAt: expiry(nowS) };
      if (login.isWebSocket) proxy?.admitted(login.cid);
      return admission(login, peer, { issuer, nowS });
    } catch (error) {
      logins.ended(place);
      throw error;
    }
  };

  /** Where a login comes from: nats-server sees the proxy instead of its clients, so what the proxy noted counts. */
  const originOf = (login: LoginRequest): Origin | null => {
    if (proxy === undefined || !login.isWebSocket) return { address: login.address, isForwarded: false };
    return listeners.isOfAnotherNode(login.serverId) ? null : proxy.originOf(login.cid);
  };

  /** The answer, or null if there is none in time. */
  const answer = async (login: LoginRequest, cameMs: number): Promise<string | null> => {
    const from = originOf(login);
    if (from === null && listeners.isOfAnotherNode(login.serverId)) return null;
    if (from === null) return deny(login, "a WebSocket client that did not come through the proxy");
    const passage = { client: clientKey(from.address), cameMs };
    const place = await listeners.placeOf(login.serverId);
    const outcome = await gate.check(passage, () => auth.login({ ...login, from, place }));
    if (outcome === null) return null;
    // A node that stands in for another may not know all of its names: that one is asked when it is there again.
    if (outcome.caller === null && listeners.isOfAnotherNode(login.serverId)) return null;
    if (!(await gate.turn(passage, outcome.caller === null ? "failed" : "logins"))) return null;
    return outcome.caller === null ? deny(login, outcome.why) : admit(login, outcome.caller);
  };

  return async (login) => {
    const cameMs = performance.now();
    const given = await answer(login, cameMs).catch((error: unknown) => {
      if (told.tryTake())
        log.warn("logins cannot be decided now: they are dropped, to be tried again", { cause: error });
      return undefined;
    });
    if (typeof given === "string") return given;
    if (given === null && told.tryTake()) {
      const hint = `set auth-callout.logins_per_second, now ${options.loginsPerSecond}, if they are all welcome`;
      log.warn(`logins are too fast from one address: some are dropped, to be tried again (${hint})`, {
        address: originOf(login)?.address,
      });
    }
    // Not at once: a client that connects again without a pause would be the faster for it.
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, holdMsMax - (performance.now() - cameMs))));
    await logins.drop({ server: login.serverId, cid: login.cid });
    return null;
  };
}
