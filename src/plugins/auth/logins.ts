import type { SignedLogin } from "../../contracts/auth.ts";
import { verifySignature } from "../../contracts/signature.ts";
import { TokenBucket } from "../../lib/token-bucket.ts";
import { fromBase64, fromBase64Url, toHex } from "../../wire/encoding.ts";
import { keyOfUserNkey } from "../../wire/names.ts";
import { natsText } from "../../wire/sign.ts";
import type { HostNames } from "./hosts.ts";

const nonceShape = /^[A-Za-z0-9_-]{11,64}$/;
/** The bare nonce among the hosts for which a login may be signed. */
const bareNonce = "";
/** How many of the hosts that fitted last are tried first. */
const rememberedMax = 8;
/** Refused logins a second of which it is found out why, and how many at once. */
const explained = { perSecond: 2, burst: 20 } as const;

/** Whose signature a login carries, or why it is none. */
export type CheckedLogin = { readonly signPub: string } | { readonly why: string };

/** Checks the signatures of NATS logins. A login does not say for which host it was signed: each name is tried. */
export class LoginCheck {
  /** Hosts that fitted, the last one first: the clients of a bus mostly dial it by the same few names. */
  #recent: readonly string[] = [];
  readonly #explained = new TokenBucket(explained.burst, explained.perSecond);

  constructor(
    private readonly hosts: HostNames,
    private readonly options: { readonly acceptsNonce: boolean },
  ) {}

  /** Whose signature a login carries. It never fails. */
  async check({ nkey, sig, nonce, place, from }: SignedLogin): Promise<CheckedLogin> {
    const key = keyOfUserNkey(nkey);
    // Some clients send it padded, as the older protocol did.
    const bytes = fromBase64Url(sig) ?? fromBase64(sig);
    if (key === null || bytes === null)
      return { why: "the login has no nkey and signature (log in with a user's nkey)" };
    if (!nonceShape.test(nonce)) return { why: "the server's nonce is malformed" };
    const signPub = toHex(key);
    const fits = (text: string) => verifySignature(signPub, text, bytes);
    const names = this.hosts.logins(place, from);
    const candidates = this.options.acceptsNonce ? [...names, bareNonce] : names;
    // Read once: another login may change the order while this one waits.
    const first = this.#recent.filter((host) => candidates.includes(host));
    for (const host of new Set([...first, ...candidates])) {
      if (!(await fits(host === bareNonce ? nonce : natsText(host, nonce)))) continue;
      this.#recent = [host, ...this.#recent.filter((other) => other !== host)].slice(0, rememberedMax);
      return { signPub };
    }
    if (!this.#explained.tryTake()) return { why: "the signature does not fit" };
    return { why: await this.#explain({ place, from, nonce }, fits) };
  }

  /** What was signed instead, as far as that can be found out: nothing else shows an operator why a client fails. */
  async #explain(
    { place, from, nonce }: Pick<SignedLogin, "place" | "from" | "nonce">,
    fits: (text: string) => Promise<boolean>,
  ): Promise<string> {
    // All names that could count from anywhere: as if the peer were here, and as if it were on a private network.
    const anywhere = ["127.0.0.1", "10.0.0.1"].flatMap((address) =>
      this.hosts.logins({ ...place, isAdvertised: true }, { address, isForwarded: false }),
    );
    const loopback = place.listeners.flatMap(({ port }) => [`127.0.0.1:${port}`, `localhost:${port}`, `[::1]:${port}`]);
    const hosts = new Set([...anywhere, ...loopback]);
    for (const host of hosts) {
      if (await fits(natsText(host, nonce))) return this.hosts.loginRefusal(host, place, from);
    }
    for (const host of new Set([...hosts].map((host) => host.replace(/:\d+$/, "")))) {
      if (!(await fits(`unibus-nats-v1\n${host}\n${nonce}`))) continue;
      return "the login is signed as unibus-nats-v1 (update the client: sign unibus-nats-v2, the host with its port)";
    }
    if (!this.options.acceptsNonce && (await fits(nonce))) {
      return "the login is signed over the bare nonce (set auth.stock_clients, or sign unibus-nats-v2)";
    }
    return "the signature does not fit (sign unibus-nats-v2 with the host:port that was dialled)";
  }
}
