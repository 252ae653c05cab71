/** For which host the test's own peers sign. */
import { natsHost } from "../../src/wire/address.ts";

/** The names for which signatures count where a server has a public URL, by the URL that is dialled. */
const publicNames = new Map<string, string>();

/** The host for which a request or a login at this URL is signed: as dialled, or the public one where there is one. */
export function hostToSign(url: string): string {
  return publicNames.get(url) ?? (/^https?:/.test(url) ? new URL(url).host : natsHost(url));
}

/** Notes the public name of a server that runs. */
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
