/** Authenticates callers: checks signed requests and NATS logins against the active users. */
import { Type } from "@sinclair/typebox";
import { Auth, type AuthMode, type Caller, type Identified, type RequestHead } from "../../contracts/auth.ts";
import { SharedNonces } from "../../contracts/nonces.ts";
import { definePlugin } from "../../contracts/plugin.ts";
import { type Reserve, StoreReserve } from "../../contracts/reserve.ts";
import { verifySignature } from "../../contracts/signature.ts";
import { type UserRecord, UserStore } from "../../contracts/store.ts";
import { hasCode, UnibusError } from "../../wire/errors.ts";
import { keyPattern, normalKey } from "../../wire/names.ts";
import { signatureHeaders } from "../../wire/sign.ts";
import { type HostNames, hostNames } from "./hosts.ts";
import { LoginCheck } from "./logins.ts";
import { NonceJournal } from "./nonces.ts";
import { checkSkew, promisedHash, readSignature } from "./request.ts";

const Config = Type.Object(
  {
    mode: Type.Optional(
      Type.Union([Type.Literal("enforce"), Type.Literal("soft"), Type.Literal("off")], {
        description: "enforce, soft or off",
      }),
    ),
    stock_clients: Type.Optional(Type.Boolean({ description: "whether stock NATS tools may log in with an nkey" })),
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

interface AuthDeps {
  readonly users: UserStore;
  readonly hosts: HostNames;
  readonly nonces: NonceJournal;
  /** Present if several nodes form one bus. */
  readonly shared: SharedNonces | undefined;
  readonly reserve: Reserve | undefined;
  readonly now: () => number;
}

async function activeUser(users: UserStore, signPub: string): Promise<Caller | null> {
  const user = await users.getUser(signPub);
  return user?.status === "active" ? callerOf(user) : null;
}

/** Returns the caller that signed a request. Order of the checks: docs/protocol/requests.md. */
async function signedCaller(head: RequestHead, parts: AuthDeps): Promise<Identified> {
  const { users, hosts, nonces, shared, reserve, now } = parts;
  const signed = readSignature(head);
  const refusal = hosts.refusal(signed.host, head.origin());
  if (refusal !== null) throw new UnibusError("wrong_host", refusal);
  checkSkew(signed.ts, now());
  const caller = await activeUser(users, signed.signPub);
  if (caller === null) {
    throw new UnibusError("unauthenticated", "this key does not belong to an active user (ask an admin for an invite)");
  }
  if (!(await verifySignature(signed.signPub, signed.text, signed.sig))) {
    throw new UnibusError(
      "unauthenticated",
      "invalid request signature (sign the unibus-request-v1 text exactly as sent)",
    );
  }
  await reserve?.admit("nonce", caller);
  nonces.claim(signed.nonce, signed.signPub, now());
  // Other nodes refuse a signature for this node's own address, so its nonce need not be shared.
  if (hosts.isShared(signed.host)) await shared?.claim(signed.nonce, signed.signPub, now());
  return { caller, signed: true, bodyHash: signed.bodyHash };
}

/** Returns the caller that a request names without proof. Only for development on loopback. */
async function namedCaller(head: RequestHead, users: UserStore): Promise<Identified> {
  const pub = head.header(signatureHeaders.pub);
  const caller = pub !== null && keyShape.test(pub) ? await activeUser(users, normalKey(pub)) : null;
  return { caller, signed: false, bodyHash: promisedHash(head) };
}

/** Provides authentication against the users in the store. */
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
    const refuse = (what: string) =>
      new UnibusError("invalid", `auth.mode: ${mode} is not allowed ${what} (set it to enforce)`);
    if (mode !== "enforce" && listener.isPublic) throw refuse("on a public address");
    if (mode !== "enforce" && listener.tls) throw refuse("with TLS");
    const hosts = hostNames(site, shared !== undefined);
    const nonces = new NonceJournal(site.dataDir, now());
    onStop(() => nonces.close());
    const parts: AuthDeps = { users, hosts, nonces, shared, reserve, now };
    const logins = new LoginCheck(hosts, { acceptsNonce: config.stock_clients ?? true });
    const auth: Auth = {
      mode,
      async identify(head) {
        if (mode === "enforce") return signedCaller(head, parts);
        try {
          return await signedCaller(head, parts);
        } catch (error) {
          if (hasCode(error, "rate_limited") || hasCode(error, "unavailable")) throw error;
          if (mode === "soft") log.warn("allowed a request without a valid signature", { cause: error });
          return namedCaller(head, users);
        }
      },
      async login(login) {
        const signed = await logins.check(login);
        if ("why" in signed) return { caller: null, why: signed.why };
        const caller = await activeUser(users, signed.signPub);
        if (caller !== null) return { caller };
        return { caller: null, why: `the key ${signed.signPub} does not belong to an active user (invite its owner)` };
      },
    };
    return {
      services: { auth },
      posture: { auth: mode },
      info: () => ({ auth: mode }),
      health: async () => nonces.health(),
    };
  },
});
