import { type Address, plainAddress } from "../wire/address.ts";
import { token } from "./plugin.ts";
import type { UserRecord } from "./store.ts";

/** The active user who makes a request or a connection. */
export interface Caller {
  readonly signPub: string;
  readonly endpoint: string;
  readonly handle: string;
  readonly role: UserRecord["role"];
  readonly kexPub: string | null;
  readonly kexSig: string | null;
}

/** The network origin of a request or a login: what the check of the bus's host names depends on. */
export interface Origin {
  /** The address of the connection's remote end; a mapped IPv4 address is unwrapped. Empty if unknown. */
  readonly address: string;
  /** Whether a proxy forwarded it, by its own account. `address` is then the proxy's. */
  readonly isForwarded: boolean;
}

/** Headers by which proxies and tunnels announce that they forwarded a request. Source: docs/protocol/requests.md. */
const forwarding = /^(forwarded|via|x-real-ip|x-forwarded-.*)$/;

/** Reports whether the headers say that a proxy forwarded the request. */
export function isForwarded(headers: { keys(): Iterable<string> }): boolean {
  for (const name of headers.keys()) if (forwarding.test(name)) return true;
  return false;
}

/** The part of a request that authentication sees: everything but the body. */
export interface RequestHead {
  readonly method: string;
  /** path?query exactly as sent. */
  readonly target: string;
  header(name: string): string | null;
  /** The network origin of the request. */
  origin(): Origin;
}

/** Extracts the head of a request. `peer` is the address of its connection's remote end. */
export function requestHead(request: Request, target: string, peer: string): RequestHead {
  const { method, headers } = request;
  const origin = (): Origin => {
    return { address: plainAddress(peer), isForwarded: isForwarded(headers) };
  };
  return { method, target, header: (name) => headers.get(name), origin };
}

/** The server and listeners at which a NATS login arrived. */
export interface LoginPlace {
  /** The addresses at which this nats-server listens for NATS and WebSocket clients. */
  readonly listeners: readonly Address[];
  /** Whether this nats-server runs on this machine, so that the machine's own addresses are valid names for it. */
  readonly isHere: boolean;
  /** The data plane URLs that `/info` lists. */
  readonly urls: readonly string[];
  /** Whether the operator configured these URLs, so they are valid names wherever the client is. */
  readonly isAdvertised: boolean;
}

/** A NATS login: the client's nkey and its signature over the server's nonce. */
export interface SignedLogin {
  readonly nkey: string;
  /** base64url, as NATS sends it. */
  readonly sig: string;
  /** The nonce of the server's INFO. */
  readonly nonce: string;
  readonly place: LoginPlace;
  readonly from: Origin;
}

/** The user who logged in, or null and the reason. `why` only goes to the log. */
export type LoginOutcome = { readonly caller: Caller } | { readonly caller: null; readonly why: string };

/** The result of authenticating a request: the caller, and the hash that the body must have. */
export interface Identified {
  /** Null if no active user could be identified; only in modes soft and off. */
  readonly caller: Caller | null;
  /** Whether a valid signature identified the caller. Admin routes require it. */
  readonly signed: boolean;
  /** The lowercase hex sha256 that the body must have, or null if the request declared none. */
  readonly bodyHash: string | null;
}

/** How strictly signatures are enforced. Source: docs/protocol/requests.md. */
export type AuthMode = "enforce" | "soft" | "off";

/** Authenticates requests and logins. */
export interface Auth {
  readonly mode: AuthMode;
  /**
   * Checks the headers of a request, spends its nonce, and looks up its user.
   * Errors: unauthenticated, wrong_host, clock_skew (only in mode enforce); rate_limited, unavailable (in every mode).
   */
  identify(head: RequestHead): Promise<Identified>;
  /**
   * Authenticates a NATS login: the active user who signed the nonce for a host name of this bus.
   * It verifies the signature before it looks anything up. Errors: unavailable if the users cannot be read.
   */
  login(login: SignedLogin): Promise<LoginOutcome>;
}

/** The token of the authentication service. */
export const Auth = token<Auth>("auth");
