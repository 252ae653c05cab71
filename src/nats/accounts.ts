import type { InternalAccount } from "../contracts/nats.ts";

/** The accounts that unibus itself logs in to. */
export const internalAccounts: readonly InternalAccount[] = ["BUS", "CTL", "AUTH", "SYS"];

/** The subject of nats-server's auth callout requests, in the account AUTH. */
export const calloutSubject = "$SYS.REQ.USER.AUTH";

/** The NATS account of users. Auth callout places every login of a user in it. Source: docs/protocol/logins.md. */
export const peerAccount = "PEERS";
