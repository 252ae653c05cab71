import type { RequestHead } from "../../contracts/auth.ts";
import { fromBase64 } from "../../wire/encoding.ts";
import { UnibusError } from "../../wire/errors.ts";
import { keyPattern, normalKey } from "../../wire/names.ts";
import { requestText, signatureHeaders, skewSMax } from "../../wire/sign.ts";

/** The signature of a request, parsed from its headers and checked for shape. */
export interface SignedHead {
  readonly host: string;
  readonly signPub: string;
  readonly ts: number;
  readonly nonce: string;
  readonly bodyHash: string;
  readonly sig: Uint8Array;
  /** The text that the signature must cover. */
  readonly text: string;
}

const keyShape = new RegExp(keyPattern);
const hostShape = /^[a-z0-9.[\]:_-]{1,260}$/;
const hashShape = /^[0-9a-f]{64}$/;
const secondsShape = /^[1-9][0-9]{0,11}$/;

const refused = (message: string): UnibusError => new UnibusError("unauthenticated", message);

function header(head: RequestHead, name: string): string {
  const value = head.header(name);
  if (value === null || value === "") throw refused(`the header ${name} is missing (sign the request)`);
  return value;
}

/** The body hash from the headers, or null if they contain none. */
export function promisedHash(head: RequestHead): string | null {
  const hash = head.header(signatureHeaders.body);
  return hash !== null && hashShape.test(hash) ? hash : null;
}

/** Parses the signature of a request. Errors: unauthenticated, naming the missing or malformed header. */
export function readSignature(head: RequestHead): SignedHead {
  const names = signatureHeaders;
  const [host, pub, ts] = [header(head, names.host), header(head, names.pub), header(head, names.ts)];
  const [nonce, bodyHash, sigText] = [header(head, names.nonce), header(head, names.body), header(head, names.sig)];
  const sig = fromBase64(sigText);
  const malformed = (name: string, wanted: string) => refused(`the header ${name} is malformed (${wanted})`);
  if (!hostShape.test(host)) throw malformed(names.host, "host[:port] as dialled, lowercase");
  if (!keyShape.test(pub)) throw malformed(names.pub, "64 hex digits");
  if (!secondsShape.test(ts)) throw malformed(names.ts, "unix seconds");
  if (fromBase64(nonce)?.byteLength !== 16) throw malformed(names.nonce, "16 random bytes, base64-std");
  if (!hashShape.test(bodyHash)) throw malformed(names.body, "sha256 of the body, lowercase hex");
  if (sig?.byteLength !== 64) throw malformed(names.sig, "64 bytes, base64-std");
  const text = requestText({ host, method: head.method, target: head.target, ts, nonce, bodyHash });
  return { host, signPub: normalKey(pub), ts: Number(ts), nonce, bodyHash, sig, text };
}

/** Checks a request's timestamp. Errors: clock_skew, with both times. */
export function checkSkew(ts: number, nowMs: number): void {
  if (Math.abs(ts - nowMs / 1000) <= skewSMax) return;
  const times = `the request says ${ts}, the server's clock ${Math.floor(nowMs / 1000)}`;
  throw new UnibusError("clock_skew", `the clocks differ by more than ${skewSMax} s: ${times} (set the clock)`);
}
