/**
 * The exact text of every signature. An identity key signs only text whose first line is `unibus-<kind>-v<n>`.
 * Shape: lines joined by one LF, none at the end; keys in lowercase hex.
 * Source: spec 2.
 */
const lines = (...parts: readonly (string | number)[]): string => parts.join("\n");

/** The headers of a signed request. Fixed. Source: spec 5. */
export const signatureHeaders = {
  host: "x-unibus-host",
  pub: "x-unibus-pub",
  ts: "x-unibus-ts",
  nonce: "x-unibus-nonce",
  body: "x-unibus-body",
  sig: "x-unibus-sig",
} as const;

/** Every header that a client of the control plane may send, for browsers that ask. */
export const requestHeaders: readonly string[] = [
  ...["content-type", "authorization", "if-none-match"],
  ...Object.values(signatureHeaders),
];

/** The header that names a request in the log. */
export const requestIdHeader = "x-request-id";

/** How far a signer's clock may be off, either way, in seconds. Source: spec 5. */
export const skewSMax = 30;

/** What a request's signature covers, in the order of its lines. */
export interface RequestText {
  /** host[:port] as dialled, lowercase, without the default port. */
  readonly host: string;
  readonly method: string;
  /** path?query exactly as sent. */
  readonly target: string;
  /** Unix seconds. */
  readonly ts: string;
  /** 16 random bytes, base64-std. */
  readonly nonce: string;
  /** Lowercase hex sha256 of the body's bytes, also of none. */
  readonly bodyHash: string;
}

/** The text of kind `request`. */
export function requestText(request: RequestText): string {
  const { host, method, target, ts, nonce, bodyHash } = request;
  return lines("unibus-request-v1", host, method, target, ts, nonce, bodyHash);
}

/**
 * The text of kind `nats`, which a login signs.
 * Shape: `host` is host:port as dialled, lowercase, IPv6 in brackets, the port always written (`natsHost` makes it from
 * a URL); `nonce` comes from the server's INFO. Version 1 had no port, so a bus on the same host name could pass a
 * login on.
 * Source: spec 2.
 */
export function natsText(host: string, nonce: string): string {
  return lines("unibus-nats-v2", host, nonce);
}

/** The text of kind `keys`: a user vouches for its own kex key. */
export function keysText(signPub: string, kexPub: string): string {
  return lines("unibus-keys-v1", signPub, kexPub);
}

/** The text of kind `frame`: `json` is the frame without `sig`. */
export function frameText(roomId: string, json: string): string {
  return lines("unibus-frame-v1", roomId, json);
}
