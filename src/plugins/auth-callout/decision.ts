/**
 * Decides one login: checks its signature, applies the rate and connection limits, and grants permissions.
 *
 * There are three outcomes: an admission; a denial, if retrying cannot help; and no answer, if the login came too fast
 * or cannot be decided now. In the last case the connection is dropped before nats-server reports an authorization
 * error (10 s after an unanswered login): clients retry after a disconnect but give up after an error.
 * Source: docs/protocol/logins.md.
 */
import { audit } from "../../contracts/audit.ts";
import type { Auth, Caller, Origin } from "../../contracts/auth.ts";
import type { Nats } from "../../contracts/nats.ts";
import type { Log } from "../../contracts/plugin.ts";
import { TokenBucket } from "../../lib/token-bucket.ts";
import { clientKey } from "../../wire/address.ts";
import { holdMsMax, type LoginGate } from "./gate.ts";
import { admission, denial, type LoginRequest, type Permissions } from "./jwt.ts";
import type { Listeners } from "./listeners.ts";
import { type Logins, userName } from "./logins.ts";

/**
 * Lifetime of permissions, in seconds, with a random spread so that they do not all expire together.
 * Source: docs/protocol/logins.md.
 */
const permissionsLife = { seconds: 3_600, spread: 0.1 } as const;
/** Minimum interval between log entries about dropped logins, in seconds. */
const logEveryS = 10;

function expiry(nowS: number): number {
  const { seconds, spread } = permissionsLife;
  return Math.floor(nowS + seconds * (1 + spread * (2 * Math.random() - 1)));
}

/** The dependencies of a decision. */
export interface DecisionOptions {
  readonly auth: Auth;
  readonly gate: LoginGate;
  readonly listeners: Listeners;
  readonly logins: Logins;
  /** Returns the current permissions of a peer. */
  readonly permissionsOf: (endpoint: string) => Promise<Permissions>;
  readonly issuer: Nats["issuer"];
  /** The WebSocket proxy's view of its clients, or undefined without a proxy. */
  readonly proxy: Nats["proxy"];
  /** Maximum number of connections of one user. */
  readonly connectionsMax: number;
  /** The value of the setting `logins_per_second`, for the log. */
  readonly loginsPerSecond: number;
  readonly log: Log;
  readonly now: () => number;
}

/** The fix for a user that has the maximum number of connections. */
const fullHint = "close one, or raise auth-callout.connections_per_user";

/** Returns the function that answers a login: a JWT, or null for no answer. It never throws. */
export function decisionOf(options: DecisionOptions): (login: LoginRequest) => Promise<string | null> {
  const { auth, gate, listeners, logins, issuer, proxy, connectionsMax, log, now } = options;
  const logLimit = new TokenBucket(1, 1 / logEveryS);

  const deny = (login: LoginRequest, why: string): string => {
    audit(log, "login_refused", null, { address: originOf(login)?.address ?? login.address, why });
    return denial(login, { issuer, nowS: Math.floor(now() / 1000) });
  };

  const admit = async (login: LoginRequest, { endpoint }: Caller, address: string): Promise<string | null> => {
    const place = { server: login.serverId, cid: login.cid };
    const room = await logins.reserve(place, endpoint, connectionsMax);
    if (room === "unsure") return null;
    if (room === "full") {
      return deny(login, `${endpoint} already has ${connectionsMax} connections (${fullHint})`);
    }
    try {
      const permissions = await options.permissionsOf(endpoint);
      logins.admit(place, endpoint, permissions, address);
      const nowS = Math.floor(now() / 1000);
      const peer = { name: userName(endpoint, permissions), permissions, expiresAt: expiry(nowS) };
      if (login.isWebSocket) proxy?.admitted(login.cid);
      return admission(login, peer, { issuer, nowS });
    } catch (error) {
      logins.ended(place);
      throw error;
    }
  };

  /** The origin of a login. nats-server sees the proxy's address, so the proxy's record of the client is used. */
  const originOf = (login: LoginRequest): Origin | null => {
    if (proxy === undefined || !login.isWebSocket) return { address: login.address, isForwarded: false };
    return listeners.isOfAnotherNode(login.serverId) ? null : proxy.originOf(login.cid);
  };

  /** Returns the answer, or null if there is none in time. */
  const answer = async (login: LoginRequest, cameMs: number): Promise<string | null> => {
    const from = originOf(login);
    if (from === null && listeners.isOfAnotherNode(login.serverId)) return null;
    if (from === null) return deny(login, "the WebSocket client did not connect through the proxy");
    const passage = { client: clientKey(from.address), cameMs };
    const place = await listeners.placeOf(login.serverId);
    const outcome = await gate.check(passage, () => auth.login({ ...login, from, place }));
    if (outcome === null) return null;
    // A stand-in may not know all names of the other node, which will decide the login itself once it is back.
    if (outcome.caller === null && listeners.isOfAnotherNode(login.serverId)) return null;
    if (!(await gate.turn(passage, outcome.caller === null ? "failed" : "logins"))) return null;
    return outcome.caller === null ? deny(login, outcome.why) : admit(login, outcome.caller, from.address);
  };

  return async (login) => {
    const cameMs = performance.now();
    const given = await answer(login, cameMs).catch((error: unknown) => {
      if (logLimit.tryTake())
        log.warn("cannot decide logins now: dropping them, so that their clients retry", { cause: error });
      return undefined;
    });
    if (typeof given === "string") return given;
    if (given === null && logLimit.tryTake()) {
      const hint = `raise auth-callout.logins_per_second, now ${options.loginsPerSecond}, if they are all legitimate`;
      log.warn(`too many logins from one address: dropping some, so that their clients retry (${hint})`, {
        address: originOf(login)?.address,
      });
    }
    // Delayed, so that a client that reconnects without backoff gains no speed by it.
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, holdMsMax - (performance.now() - cameMs))));
    await logins.drop({ server: login.serverId, cid: login.cid });
    return null;
  };
}
