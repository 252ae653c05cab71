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

/** What authentication sees of a request: no byte of its body. */
export interface RequestHead {
  readonly method: string;
  /** path?query exactly as sent. */
  readonly target: string;
  header(name: string): string | null;
}

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
   * The active user who signed the nonce of a NATS login, or null.
   * Shape: `sig` base64url as NATS sends it. The signature is checked before anything is looked up.
   */
  login(login: { readonly nkey: string; readonly sig: string; readonly nonce: string }): Promise<Caller | null>;
}

/** Authentication. */
export const Auth = token<Auth>("auth");
