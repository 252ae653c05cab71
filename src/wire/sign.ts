/**
 * The exact text that each kind of signature covers. An identity key only signs text whose first line is
 * `unibus-<kind>-v<n>`.
 * Shape: lines joined by one LF, without a trailing LF; keys in lowercase hex. Source: docs/protocol/signatures.md.
 */
const lines = (...parts: readonly (string | number)[]): string => parts.join("\n");

/** The headers of a signed request. Fixed. Source: docs/protocol/requests.md. */
export const signatureHeaders = {
  host: "x-unibus-host",
  pub: "x-unibus-pub",
  ts: "x-unibus-ts",
  nonce: "x-unibus-nonce",
  body: "x-unibus-body",
  sig: "x-unibus-sig",
} as const;

/** Every request header that a client of the control plane may send; answers a browser's CORS preflight. */
export const requestHeaders: readonly string[] = [
  ...["content-type", "authorization", "if-none-match"],
  ...Object.values(signatureHeaders),
];

/** The header with the request's id in the server log. */
export const requestIdHeader = "x-request-id";

/** The largest clock skew of a signer, in either direction, in seconds. Source: docs/protocol/limits.md. */
export const skewSMax = 30;

/** The fields that a request's signature covers, in the order of its lines. */
export interface RequestText {
  /** host[:port] as dialled, in lowercase, without the default port. */
  readonly host: string;
  readonly method: string;
  /** path?query exactly as sent. */
  readonly target: string;
  /** Unix seconds. */
  readonly ts: string;
  /** 16 random bytes, base64-std. */
  readonly nonce: string;
  /** Lowercase hex sha256 of the body's bytes, also for an empty body. */
  readonly bodyHash: string;
}

/** The text that a request signs (kind `request`). */
export function requestText(request: RequestText): string {
  const { host, method, target, ts, nonce, bodyHash } = request;
  return lines("unibus-request-v1", host, method, target, ts, nonce, bodyHash);
}

/**
 * The text that a NATS login signs (kind `nats`).
 * Shape: `host` is host:port as dialled, in lowercase, IPv6 in brackets, the port always present (`natsHost` derives it
 * from a URL); `nonce` comes from the server's INFO. Version 1 had no port, so another bus on the same host name could
 * relay a login. Source: docs/protocol/signatures.md.
 */
export function natsText(host: string, nonce: string): string {
  return lines("unibus-nats-v2", host, nonce);
}

/** The text by which a user signs their own kex key (kind `keys`). */
export function keysText(signPub: string, kexPub: string): string {
  return lines("unibus-keys-v1", signPub, kexPub);
}

/** The text that a frame signs (kind `frame`). `json` is the frame without `sig`. */
export function frameText(roomId: string, json: string): string {
  return lines("unibus-frame-v1", roomId, json);
}
