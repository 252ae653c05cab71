/** The host for which the tests' own peers sign. */
import { natsHost } from "../../src/wire/address.ts";

/** Public host names of servers, by the URL that is dialled. */
const publicNames = new Map<string, string>();

/** Returns the host to sign for at this URL: the server's public name if it has one, otherwise the host as dialled. */
export function hostToSign(url: string): string {
  return publicNames.get(url) ?? (/^https?:/.test(url) ? new URL(url).host : natsHost(url));
}

/** Registers the public name of a running server. */
export function notePublicName(ready: {
  readonly http: string;
  readonly nats: string;
  readonly ws: string;
  readonly public_url?: string;
}): void {
  if (ready.public_url === undefined) return;
  const { host, hostname } = new URL(ready.public_url);
  publicNames.set(ready.http, host);
  for (const url of [ready.nats, ready.ws]) publicNames.set(url, `${hostname}:${new URL(url).port}`);
}
