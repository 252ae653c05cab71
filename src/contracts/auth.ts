import { type Address, plainAddress } from "../wire/address.ts";
import { token } from "./plugin.ts";
import type { UserRecord } from "./store.ts";

/** An active user who makes a request or a connection. */
export interface Caller {
  readonly signPub: string;
  readonly endpoint: string;
  readonly handle: string;
  readonly role: UserRecord["role"];
  readonly kexPub: string | null;
  readonly kexSig: string | null;
}

/** Where a request or a login comes from, as far as the names of the bus depend on it. */
export interface Origin {
  /** The address of the connection's other end, IPv4 in its own form. Empty if it is not known. */
  readonly address: string;
  /** Whether a proxy says that it passed this on: then the address is the proxy's. */
  readonly isForwarded: boolean;
}

/** Headers by which proxies and tunnels say that they passed a request on. Source: spec 5. */
const forwarding = /^(forwarded|via|x-real-ip|x-forwarded-.*)$/;

/** Whether a proxy says that it passed a request on. */
export function isForwarded(headers: { keys(): Iterable<string> }): boolean {
  for (const name of headers.keys()) if (forwarding.test(name)) return true;
  return false;
}

/** What authentication sees of a request: no byte of its body. */
export interface RequestHead {
  readonly method: string;
  /** path?query exactly as sent. */
  readonly target: string;
  header(name: string): string | null;
  /** Where it comes from. */
  origin(): Origin;
}

/** The head of a request. `peer` is the address of its connection's other end. */
export function requestHead(request: Request, target: string, peer: string): RequestHead {
  const { method, headers } = request;
  const origin = (): Origin => {
    return { address: plainAddress(peer), isForwarded: isForwarded(headers) };
  };
  return { method, target, header: (name) => headers.get(name), origin };
}

/** Where a NATS login arrived. */
export interface LoginPlace {
  /** The addresses at which its nats-server listens for NATS and WebSocket clients. */
  readonly listeners: readonly Address[];
  /** Whether that nats-server runs on this machine, so that this machine's addresses are its own. */
  readonly isHere: boolean;
  /** The URLs at which `/info` says that the data plane is. */
  readonly urls: readonly string[];
  /** Whether the operator wrote these URLs down, so that they count wherever the peer is. */
  readonly isAdvertised: boolean;
}

/** A NATS login. */
export interface SignedLogin {
  readonly nkey: string;
  /** base64url, as NATS sends it. */
  readonly sig: string;
  /** The nonce of the server's INFO. */
  readonly nonce: string;
  readonly place: LoginPlace;
  readonly from: Origin;
}

/** Who logs in, or why nobody does: `why` is for the log alone. */
export type LoginOutcome = { readonly caller: Caller } | { readonly caller: null; readonly why: string };

/** Who calls, and what their body must hash to. */
export interface Identified {
  /** Null where no mode names one. */
  readonly caller: Caller | null;
  /** Whether a valid signature named the caller: admin routes take no less. */
  readonly signed: boolean;
  /** Lowercase hex sha256 that the body must have, or null where nothing was promised. */
  readonly bodyHash: string | null;
}

/** What is enforced of signatures. Source: spec 5. */
export type AuthMode = "enforce" | "soft" | "off";

/** Decides who is calling. */
export interface Auth {
  readonly mode: AuthMode;
  /**
   * Checks the headers of a request, spends its nonce, and finds its user.
   * Errors: unauthenticated, wrong_host, clock_skew (enforce only); rate_limited, unavailable (every mode).
   */
  identify(head: RequestHead): Promise<Identified>;
  /**
   * The active user who signed the nonce of a NATS login for a name of this bus.
   * The signature is checked before anything is looked up. Errors: unavailable, when the users cannot be read.
   */
  login(login: SignedLogin): Promise<LoginOutcome>;
}

/** Authentication. */
export const Auth = token<Auth>("auth");
