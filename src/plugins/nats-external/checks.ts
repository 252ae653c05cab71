import { type NatsConnection, nkeyAuthenticator, nkeys } from "nats";
import type { InternalAccount } from "../../contracts/nats.ts";
import { calloutSubject, internalAccounts, peerAccount } from "../../nats/accounts.ts";
import type { Connections } from "../../nats/connections.ts";
import { crossingFault, type ReportedCrossing } from "../../nats/crossings.ts";
import { UnibusError } from "../../wire/errors.ts";
import type { Dialler } from "./dial.ts";

/** How long a server may take to answer a check, in milliseconds. */
const askTimeoutMs = 5_000;

interface AccountInfo {
  readonly jetstream_enabled?: boolean;
  readonly exports?: readonly ReportedCrossing[];
  readonly imports?: readonly ReportedCrossing[];
}

const refuse = (what: string, hint: string): UnibusError =>
  new UnibusError("invalid", `nats-external: ${what} (${hint}; see docs/operate.md)`);

async function accountOf(system: NatsConnection, name: string): Promise<AccountInfo> {
  const ask = system.request(`$SYS.REQ.ACCOUNT.${name}.INFO`, "", { timeout: askTimeoutMs });
  const reply = await ask.catch(() => null);
  if (reply === null) throw refuse("the SYS credentials do not belong to the system account", "check system_account");
  const data = reply.json<{ data?: AccountInfo | null }>().data ?? null;
  if (data === null) throw refuse(`account ${name} does not exist`, "create it");
  return data;
}

/** Checks that a connection is in the account of its name. */
async function checkAccount(connections: Connections, account: InternalAccount): Promise<void> {
  const connection = await connections.get(account);
  const reply = await connection.request("$SYS.REQ.USER.INFO", "", { timeout: askTimeoutMs }).catch(() => null);
  const found = reply?.json<{ data?: { account?: string } }>().data?.account;
  if (account === "SYS" || found === account) return;
  throw refuse(
    `the ${account} credentials belong to account ${found ?? "unknown"}`,
    `use those of a user of ${account}`,
  );
}

/** Checks that auth callout works: an unknown client logs in, and the request must arrive. */
async function checkCallout(connections: Connections, dialler: Dialler): Promise<void> {
  const answering = await connections.get("AUTH");
  const { promise: heard, resolve } = Promise.withResolvers<boolean>();
  // Outside the queue group of the responders: it receives every request and answers none.
  const listening = answering.subscribe(calloutSubject, { callback: () => resolve(true) });
  await answering.flush();
  let nonce: string | undefined;
  const stranger = nkeyAuthenticator(nkeys.createUser().getSeed());
  const authenticator = (given?: string) => {
    nonce = given;
    return stranger(given);
  };
  const tried = dialler.dial(authenticator, { reconnect: false }).then(
    (admitted) => admitted.close(),
    () => undefined,
  );
  // No responder may be running yet. Then the attempt ends long after its request has arrived.
  const isAsked = await Promise.race([heard, tried.then(() => false)]);
  listening.unsubscribe();
  if (nonce === undefined) throw refuse("the servers send no nonce to sign", "give any account a user with an nkey");
  if (!isAsked) throw refuse("the servers send no auth callout requests to unibus", "set authorization.auth_callout");
}

/** Checks that existing servers can carry unibus. Errors: invalid, naming what is missing; unavailable. */
export async function checkServers(
  connections: Connections,
  dialler: Dialler,
  namespaces: readonly string[],
): Promise<void> {
  for (const account of internalAccounts) await checkAccount(connections, account);
  const system = await connections.get("SYS");
  const named = async (name: string) => [name, await accountOf(system, name)] as const;
  const [bus, ctl, peers] = await Promise.all([named("BUS"), named("CTL"), named(peerAccount)]);
  for (const [name, { jetstream_enabled }] of [bus, ctl]) {
    if (jetstream_enabled !== true)
      throw refuse(`JetStream is disabled for account ${name}`, `give ${name} a JetStream limit`);
  }
  if (peers[1].jetstream_enabled === true) {
    const what = `JetStream is enabled for account ${peerAccount}, which would let peers into rooms`;
    throw refuse(what, "disable it there");
  }
  const fault = crossingFault(bus[1].exports ?? [], peers[1].imports ?? [], namespaces);
  if (fault !== null) throw refuse(fault.what, fault.hint);
  await checkCallout(connections, dialler);
}
