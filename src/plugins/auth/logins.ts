import type { SignedLogin } from "../../contracts/auth.ts";
import { verifySignature } from "../../contracts/signature.ts";
import { TokenBucket } from "../../lib/token-bucket.ts";
import { fromBase64, fromBase64Url, toHex } from "../../wire/encoding.ts";
import { keyOfUserNkey } from "../../wire/names.ts";
import { natsText } from "../../wire/sign.ts";
import type { HostNames } from "./hosts.ts";

const nonceShape = /^[A-Za-z0-9_-]{11,64}$/;
/** Placeholder among the hosts for a login that signs the bare nonce. */
const bareNonce = "";
/** How many recently matching hosts are tried first. */
const rememberedMax = 8;
/** Rate limit for explaining refused logins: per second, and the burst. */
const explained = { perSecond: 2, burst: 20 } as const;

/** The key that signed a login, or the reason why the signature is not valid. */
export type CheckedLogin = { readonly signPub: string } | { readonly why: string };

/** Verifies the signatures of NATS logins. A login does not name the host it was signed for, so each name is tried. */
export class LoginCheck {
  /** Hosts that matched, latest first. Most clients dial a bus by the same few names. */
  #recent: readonly string[] = [];
  readonly #explained = new TokenBucket(explained.burst, explained.perSecond);

  constructor(
    private readonly hosts: HostNames,
    private readonly options: { readonly acceptsNonce: boolean },
  ) {}

  /** Returns the key that signed a login, or a reason. Never throws. */
  async check({ nkey, sig, nonce, place, from }: SignedLogin): Promise<CheckedLogin> {
    const key = keyOfUserNkey(nkey);
    // Some clients send padded base64, as the older protocol did.
    const bytes = fromBase64Url(sig) ?? fromBase64(sig);
    if (key === null || bytes === null)
      return { why: "login without an nkey and signature (log in with a user's nkey)" };
    if (!nonceShape.test(nonce)) return { why: "the server's nonce is malformed" };
    const signPub = toHex(key);
    const fits = (text: string) => verifySignature(signPub, text, bytes);
    const names = this.hosts.logins(place, from);
    const candidates = this.options.acceptsNonce ? [...names, bareNonce] : names;
    // Read once: a concurrent login may reorder `#recent` while this one awaits.
    const first = this.#recent.filter((host) => candidates.includes(host));
    for (const host of new Set([...first, ...candidates])) {
      if (!(await fits(host === bareNonce ? nonce : natsText(host, nonce)))) continue;
      this.#recent = [host, ...this.#recent.filter((other) => other !== host)].slice(0, rememberedMax);
      return { signPub };
    }
    if (!this.#explained.tryTake()) return { why: "invalid signature" };
    return { why: await this.#explain({ place, from, nonce }, fits) };
  }

  /** Finds out what was signed instead, if possible. Without this an operator could not see why a client fails. */
  async #explain(
    { place, from, nonce }: Pick<SignedLogin, "place" | "from" | "nonce">,
    fits: (text: string) => Promise<boolean>,
  ): Promise<string> {
    // All names that could count from any peer: one on this machine, and one on a private network.
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
      return "login signed as unibus-nats-v1 (update the client: sign unibus-nats-v2, the host with its port)";
    }
    if (!this.options.acceptsNonce && (await fits(nonce))) {
      return "login signed over the bare nonce (set auth.stock_clients, or sign unibus-nats-v2)";
    }
    return "invalid signature (sign unibus-nats-v2 with the host:port that was dialled)";
  }
}
