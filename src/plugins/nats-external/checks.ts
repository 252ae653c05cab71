import { type NatsConnection, nkeyAuthenticator, nkeys } from "nats";
import type { InternalAccount } from "../../contracts/nats.ts";
import { UnibusError } from "../../wire/errors.ts";
import { deliverRoot } from "../../wire/names.ts";
import type { Connections } from "./connections.ts";

/** How long a server may take to answer a check, in milliseconds. */
const askTimeoutMs = 5_000;

interface Crossing {
  readonly subject: string;
  readonly type: string;
  readonly account?: string;
}

interface AccountInfo {
  readonly jetstream_enabled?: boolean;
  readonly exports?: readonly Crossing[];
  readonly imports?: readonly Crossing[];
}

const refuse = (what: string, hint: string): UnibusError =>
  new UnibusError("invalid", `nats-external: ${what} (${hint}; see docs/operate.md)`);

const asText = ({ type, subject }: Crossing): string => `${type} ${subject}`;

/** The exports and imports that the accounts BUS and PEERS must share, and no others. Source: spec 9. */
function wantedCrossings(namespaces: readonly string[]): string[] {
  const services = [...namespaces.map((namespace) => `${namespace}.>`), "$JS.ACK.>"];
  const streams = [`${deliverRoot}.>`, "unibus.user.>"];
  return [...services.map((subject) => `service ${subject}`), ...streams.map((subject) => `stream ${subject}`)];
}

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

/** Checks that only unibus's subjects cross from BUS to PEERS. Any other would break the isolation of rooms. */
function checkCrossings(bus: AccountInfo, peers: AccountInfo, namespaces: readonly string[]): void {
  const wanted = wantedCrossings(namespaces);
  const exported = (bus.exports ?? []).map(asText);
  const imported = (peers.imports ?? []).filter(({ account }) => account === "BUS").map(asText);
  for (const crossing of wanted) {
    if (!exported.includes(crossing)) throw refuse(`BUS does not export ${crossing}`, "export it to PEERS");
    if (!imported.includes(crossing)) throw refuse(`PEERS does not import ${crossing}`, "import it from BUS");
  }
  const other = [...exported, ...imported].find((crossing) => !wanted.includes(crossing));
  if (other !== undefined) throw refuse(`BUS and PEERS also share ${other}`, "remove that export or import");
}

/** Checks that auth callout works: an unknown client logs in, and the request must arrive. */
async function checkCallout(connections: Connections): Promise<void> {
  const answering = await connections.get("AUTH");
  const { promise: heard, resolve } = Promise.withResolvers<boolean>();
  // Outside the queue group of the responders: it receives every request and answers none.
  const listening = answering.subscribe("$SYS.REQ.USER.AUTH", { callback: () => resolve(true) });
  await answering.flush();
  let nonce: string | undefined;
  const stranger = nkeyAuthenticator(nkeys.createUser().getSeed());
  const authenticator = (given?: string) => {
    nonce = given;
    return stranger(given);
  };
  const tried = connections.dial(authenticator, { reconnect: false }).then(
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
export async function checkServers(connections: Connections, namespaces: readonly string[]): Promise<void> {
  const accounts: readonly InternalAccount[] = ["BUS", "CTL", "AUTH", "SYS"];
  for (const account of accounts) await checkAccount(connections, account);
  const system = await connections.get("SYS");
  const named = async (name: string) => [name, await accountOf(system, name)] as const;
  const [bus, ctl, peers] = await Promise.all([named("BUS"), named("CTL"), named("PEERS")]);
  for (const [name, { jetstream_enabled }] of [bus, ctl]) {
    if (jetstream_enabled !== true)
      throw refuse(`JetStream is disabled for account ${name}`, `give ${name} a JetStream limit`);
  }
  if (peers[1].jetstream_enabled === true) {
    throw refuse("JetStream is enabled for account PEERS, which would let peers into rooms", "disable it there");
  }
  checkCrossings(bus[1], peers[1], namespaces);
  await checkCallout(connections);
}
