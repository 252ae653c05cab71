import { createHash } from "node:crypto";
import type { Grant } from "../../contracts/grant.ts";
import type { Nats } from "../../contracts/nats.ts";
import { peerAccount } from "../../nats/accounts.ts";
import { plainAddress } from "../../wire/address.ts";

/** The permissions of a peer's connection. */
export type Permissions = Pick<Grant, "publish" | "subscribe" | "subscriptionsMax">;

/** A login that nats-server sends to auth callout. */
export interface LoginRequest {
  readonly serverId: string;
  /** The connection's id on that server. */
  readonly cid: number;
  readonly userNkey: string;
  readonly nkey: string;
  readonly sig: string;
  readonly nonce: string;
  /** The client's address as nats-server sees it. For a WebSocket client this is the proxy's address. */
  readonly address: string;
  readonly isWebSocket: boolean;
}

const unlimited = -1;

const base64Url = (text: string | Uint8Array): string => Buffer.from(text).toString("base64url");
const header = base64Url(JSON.stringify({ typ: "JWT", alg: "ed25519-nkey" }));

function signed(claims: Record<string, unknown>, issuer: Nats["issuer"]): string {
  const jti = createHash("sha256").update(JSON.stringify(claims)).digest("base64url");
  const text = `${header}.${base64Url(JSON.stringify({ ...claims, jti, iss: issuer.nkey }))}`;
  return `${text}.${base64Url(issuer.sign(text))}`;
}

const textOf = (value: unknown): string => (typeof value === "string" ? value : "");

/** Parses an auth callout request. It comes over a connection that only nats-server and unibus can use. */
export function readLogin(jwt: string): LoginRequest {
  const claims = JSON.parse(Buffer.from(jwt.split(".")[1] ?? "", "base64url").toString()) as {
    nats?: {
      server_id?: { id?: unknown };
      user_nkey?: unknown;
      client_info?: { id?: unknown; nonce?: unknown; host?: unknown; type?: unknown };
      connect_opts?: { nkey?: unknown; sig?: unknown };
    };
  };
  const nats = claims.nats ?? {};
  return {
    serverId: textOf(nats.server_id?.id),
    cid: Number(nats.client_info?.id ?? 0),
    userNkey: textOf(nats.user_nkey),
    nkey: textOf(nats.connect_opts?.nkey),
    sig: textOf(nats.connect_opts?.sig),
    nonce: textOf(nats.client_info?.nonce),
    address: plainAddress(textOf(nats.client_info?.host)),
    isWebSocket: textOf(nats.client_info?.type) === "websocket",
  };
}

/** Signs the response that admits a peer. Units: `expiresAt` in seconds since the epoch. */
export function admission(
  login: LoginRequest,
  peer: { readonly name: string; readonly permissions: Permissions; readonly expiresAt: number },
  options: { readonly issuer: Nats["issuer"]; readonly nowS: number },
): string {
  const user = signed(
    {
      sub: login.userNkey,
      aud: peerAccount,
      name: peer.name,
      iat: options.nowS,
      exp: peer.expiresAt,
      nats: {
        type: "user",
        version: 2,
        pub: { allow: peer.permissions.publish },
        sub: { allow: peer.permissions.subscribe },
        subs: peer.permissions.subscriptionsMax,
        data: unlimited,
        payload: unlimited,
      },
    },
    options.issuer,
  );
  return response(login, { jwt: user }, options);
}

/** Signs the response that denies a login. It gives no reason. */
export function denial(
  login: LoginRequest,
  options: { readonly issuer: Nats["issuer"]; readonly nowS: number },
): string {
  return response(login, { error: "not admitted" }, options);
}

function response(
  login: LoginRequest,
  answer: { readonly jwt: string } | { readonly error: string },
  { issuer, nowS }: { readonly issuer: Nats["issuer"]; readonly nowS: number },
): string {
  const nats = { ...answer, type: "authorization_response", version: 2 };
  return signed({ sub: login.userNkey, aud: login.serverId, iat: nowS, nats }, issuer);
}
