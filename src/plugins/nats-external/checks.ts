import { type NatsConnection, nkeyAuthenticator, nkeys } from "nats";
import type { InternalAccount } from "../../contracts/nats.ts";
import { UnibusError } from "../../wire/errors.ts";
import { deliverRoot } from "../../wire/names.ts";
import type { Connections } from "./connections.ts";

/** How long a server may take to say something of itself, in milliseconds. */
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

const refuse = (what: string, mend: string): UnibusError =>
  new UnibusError("invalid", `nats-external: ${what} (${mend}; see the configuration in docs/operate.md)`);

const asText = ({ type, subject }: Crossing): string => `${type} ${subject}`;

/** What the accounts BUS and PEERS share, and nothing else. Source: spec 9. */
function wantedCrossings(namespaces: readonly string[]): string[] {
  const services = [...namespaces.map((namespace) => `${namespace}.>`), "$JS.ACK.>"];
  const streams = [`${deliverRoot}.>`, "unibus.user.>"];
  return [...services.map((subject) => `service ${subject}`), ...streams.map((subject) => `stream ${subject}`)];
}

async function accountOf(system: NatsConnection, name: string): Promise<AccountInfo> {
  const ask = system.request(`$SYS.REQ.ACCOUNT.${name}.INFO`, "", { timeout: askTimeoutMs });
  const reply = await ask.catch(() => null);
  if (reply === null) throw refuse("the credentials of SYS are not of the system account", "see system_account");
  const data = reply.json<{ data?: AccountInfo | null }>().data ?? null;
  if (data === null) throw refuse(`there is no account ${name}`, "make it");
  return data;
}

/** Each connection is in the account whose name it has. */
async function checkAccount(connections: Connections, account: InternalAccount): Promise<void> {
  const connection = await connections.get(account);
  const reply = await connection.request("$SYS.REQ.USER.INFO", "", { timeout: askTimeoutMs }).catch(() => null);
  const found = reply?.json<{ data?: { account?: string } }>().data?.account;
  if (account === "SYS" || found === account) return;
  throw refuse(
    `the credentials of ${account} are in account ${found ?? "unknown"}`,
    `give them to a user of ${account}`,
  );
}

/** Only the wildcards that unibus knows cross from BUS to PEERS: with anything else the isolation of rooms breaks. */
function checkCrossings(bus: AccountInfo, peers: AccountInfo, namespaces: readonly string[]): void {
  const wanted = wantedCrossings(namespaces);
  const exported = (bus.exports ?? []).map(asText);
  const imported = (peers.imports ?? []).filter(({ account }) => account === "BUS").map(asText);
  for (const crossing of wanted) {
    if (!exported.includes(crossing)) throw refuse(`BUS does not export ${crossing}`, "export it to PEERS");
    if (!imported.includes(crossing)) throw refuse(`PEERS does not import ${crossing}`, "import it from BUS");
  }
  const other = [...exported, ...imported].find((crossing) => !wanted.includes(crossing));
  if (other !== undefined) throw refuse(`${other} crosses between BUS and PEERS`, "remove that export or import");
}

/** Whether the servers ask unibus who may log in: somebody unknown tries, and the question is heard. */
async function checkCallout(connections: Connections): Promise<void> {
  const answering = await connections.get("AUTH");
  const { promise: heard, resolve } = Promise.withResolvers<boolean>();
  // Beside the queue of those who answer: it hears every question and answers none.
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
  // Nobody may be there yet to answer: then the attempt ends much later than its question is heard.
  const isAsked = await Promise.race([heard, tried.then(() => false)]);
  listening.unsubscribe();
  if (nonce === undefined) throw refuse("the servers send no nonce to sign", "give any account a user with an nkey");
  if (!isAsked) throw refuse("the servers do not ask unibus who may log in", "set authorization.auth_callout");
}

/** Servers that somebody else runs can carry unibus. Errors: invalid, with what is missing; unavailable. */
export async function checkServers(connections: Connections, namespaces: readonly string[]): Promise<void> {
  const accounts: readonly InternalAccount[] = ["BUS", "CTL", "AUTH", "SYS"];
  for (const account of accounts) await checkAccount(connections, account);
  const system = await connections.get("SYS");
  const named = async (name: string) => [name, await accountOf(system, name)] as const;
  const [bus, ctl, peers] = await Promise.all([named("BUS"), named("CTL"), named("PEERS")]);
  for (const [name, { jetstream_enabled }] of [bus, ctl]) {
    if (jetstream_enabled !== true) throw refuse(`account ${name} has no JetStream`, `give ${name} a JetStream limit`);
  }
  if (peers[1].jetstream_enabled === true) {
    throw refuse("account PEERS has JetStream, which would let peers into rooms", "take it from PEERS");
  }
  checkCrossings(bus[1], peers[1], namespaces);
  await checkCallout(connections);
}
