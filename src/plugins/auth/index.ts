/** Who is calling: signed requests and NATS logins, checked against the active users. */
import { Type } from "@sinclair/typebox";
import { Auth, type AuthMode, type Caller, type Identified, type RequestHead } from "../../contracts/auth.ts";
import { SharedNonces } from "../../contracts/nonces.ts";
import { definePlugin } from "../../contracts/plugin.ts";
import { type Reserve, StoreReserve } from "../../contracts/reserve.ts";
import { verifySignature } from "../../contracts/signature.ts";
import { type UserRecord, UserStore } from "../../contracts/store.ts";
import { fromBase64, fromBase64Url, toHex } from "../../wire/encoding.ts";
import { hasCode, UnibusError } from "../../wire/errors.ts";
import { keyOfUserNkey, keyPattern, normalKey } from "../../wire/names.ts";
import { natsText, signatureHeaders } from "../../wire/sign.ts";
import { type HostNames, hostNames } from "./hosts.ts";
import { NonceJournal } from "./nonces.ts";
import { checkSkew, promisedHash, readSignature } from "./request.ts";

const Config = Type.Object(
  {
    mode: Type.Optional(
      Type.Union([Type.Literal("enforce"), Type.Literal("soft"), Type.Literal("off")], {
        description: "enforce, soft or off",
      }),
    ),
    stock_clients: Type.Optional(Type.Boolean({ description: "whether stock NATS tools with an nkey may log in" })),
  },
  { additionalProperties: false },
);

const callerOf = ({ signPub, endpoint, handle, role, kexPub, kexSig }: UserRecord): Caller => ({
  signPub,
  endpoint,
  handle,
  role,
  kexPub,
  kexSig,
});

const keyShape = new RegExp(keyPattern);
const nonceShape = /^[A-Za-z0-9_-]{11,64}$/;

interface Parts {
  readonly users: UserStore;
  readonly hosts: HostNames;
  readonly nonces: NonceJournal;
  /** Where several nodes are one bus. */
  readonly shared: SharedNonces | undefined;
  readonly reserve: Reserve | undefined;
  readonly now: () => number;
}

async function activeUser(users: UserStore, signPub: string): Promise<Caller | null> {
  const user = await users.getUser(signPub);
  return user?.status === "active" ? callerOf(user) : null;
}

/** The caller whose signature a request carries. Order of the checks: spec 5. */
async function signedCaller(head: RequestHead, parts: Parts): Promise<Identified> {
  const { users, hosts, nonces, shared, reserve, now } = parts;
  const signed = readSignature(head);
  if (!hosts.accepts(signed.host)) {
    const ours = hosts.logins().join(", ");
    const message = `the request is signed for ${signed.host}, this bus is ${ours} (dial it, or set http.hosts)`;
    throw new UnibusError("wrong_host", message);
  }
  checkSkew(signed.ts, now());
  const caller = await activeUser(users, signed.signPub);
  if (caller === null) {
    throw new UnibusError("unauthenticated", "this key is no active user here (ask an admin for an invite)");
  }
  if (!(await verifySignature(signed.signPub, signed.text, signed.sig))) {
    throw new UnibusError("unauthenticated", "the signature does not fit the request (sign the text of kind request)");
  }
  await reserve?.admit("nonce", caller);
  nonces.claim(signed.nonce, signed.signPub, now());
  // One that is signed for this node's own address every other node refuses.
  if (hosts.isShared(signed.host)) await shared?.claim(signed.nonce, signed.signPub, now());
  return { caller, signed: true, bodyHash: signed.bodyHash };
}

/** The caller that a request names without proof: for development on loopback. */
async function namedCaller(head: RequestHead, users: UserStore): Promise<Identified> {
  const pub = head.header(signatureHeaders.pub);
  const caller = pub !== null && keyShape.test(pub) ? await activeUser(users, normalKey(pub)) : null;
  return { caller, signed: false, bodyHash: promisedHash(head) };
}

/** Provides authentication over the users of the store. */
export default definePlugin({
  name: "auth",
  api: 1,
  config: Config,
  provides: { auth: Auth },
  requires: { users: UserStore },
  optional: { shared: SharedNonces, reserve: StoreReserve },
  facts: ({ mode }) => ({ auth: mode ?? "enforce" }),
  async setup({ config, site, log, now, onStop }, { users, shared, reserve }) {
    const mode: AuthMode = config.mode ?? "enforce";
    const { listener } = site;
    const refuse = (what: string) => new UnibusError("invalid", `auth.mode: ${mode} ${what} (set it to enforce)`);
    if (mode !== "enforce" && listener.isPublic) throw refuse("on a public bind");
    if (mode !== "enforce" && listener.tls) throw refuse("with TLS");
    const hosts = hostNames(site, shared !== undefined);
    const nonces = new NonceJournal(site.dataDir, now());
    onStop(() => nonces.close());
    const parts: Parts = { users, hosts, nonces, shared, reserve, now };
    /** Clients of one bus mostly sign in one form: the one that fitted last is tried first. */
    let lastForm = 0;
    const auth: Auth = {
      mode,
      async identify(head) {
        if (mode === "enforce") return signedCaller(head, parts);
        try {
          return await signedCaller(head, parts);
        } catch (error) {
          if (hasCode(error, "rate_limited") || hasCode(error, "unavailable")) throw error;
          if (mode === "soft") log.warn("a request without a valid signature was let through", { cause: error });
          return namedCaller(head, users);
        }
      },
      async login({ nkey, sig, nonce }) {
        const key = keyOfUserNkey(nkey);
        // Some clients send it padded, as the older protocol did.
        const bytes = fromBase64Url(sig) ?? fromBase64(sig);
        if (key === null || bytes === null || !nonceShape.test(nonce)) return null;
        const signPub = toHex(key);
        const texts = hosts.logins().map((host) => natsText(host, nonce));
        if (config.stock_clients ?? true) texts.push(nonce);
        // Read once: another login may set it while this one waits, and a form would be left out.
        const first = lastForm;
        for (let i = 0; i < texts.length; i++) {
          const place = (first + i) % texts.length;
          if (!(await verifySignature(signPub, texts[place] ?? "", bytes))) continue;
          lastForm = place;
          return activeUser(users, signPub);
        }
        return null;
      },
    };
    return { services: { auth }, posture: { auth: mode }, info: () => ({ auth: mode }) };
  },
});
