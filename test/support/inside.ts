/** Access to unibus's own NATS accounts, and a server with the users that most tests need. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { connect, type NatsConnection } from "nats";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { consumerName, streamName } from "../../src/wire/names.ts";
import type { Server } from "./executable.ts";
import { addUser, call, type OwnRoom, postUser } from "./peer.ts";

/** An admin and some members, by name. */
export type Cast<N extends string> = Readonly<Record<N | "admin", Identity>>;

/** Creates an admin by the command on the host, and members over HTTP. */
export async function castOf<N extends string>(server: Server, ...names: readonly N[]): Promise<Cast<N>> {
  const admin = await addUser(server, "admin", { admin: true });
  const made = await Promise.all(names.map(async (name) => [name, await postUser(server, admin, name)] as const));
  return { ...(Object.fromEntries(made) as Record<N, Identity>), admin } as Cast<N>;
}

/** Returns the secrets with which unibus itself logs in. */
export function secretsOf(server: Server): { issuer_seed: string; passwords: Readonly<Record<string, string>> } {
  return JSON.parse(readFileSync(join(server.data, "internal.json"), "utf8")) as ReturnType<typeof secretsOf>;
}

/** Connects as unibus itself, which no peer can do. */
export async function inside(server: Server, account: "BUS" | "CTL" | "AUTH" | "SYS" = "BUS"): Promise<NatsConnection> {
  const { host } = new URL(server.ready.nats);
  const pass = secretsOf(server).passwords[account] ?? "";
  return connect({ servers: host, user: `unibus-${account.toLowerCase()}`, pass });
}

/** Makes one JetStream API call. */
export async function jetStream<R = Record<string, unknown>>(
  connection: NatsConnection,
  subject: string,
  body?: unknown,
): Promise<R> {
  const payload = body === undefined ? "" : JSON.stringify(body);
  return (await connection.request(`$JS.API.${subject}`, payload, { timeout: 10_000 })).json<R>();
}

/**
 * Replaces the consumer of a member's main device by one of the test's own. Later logins of the member may acknowledge
 * on it.
 */
export async function replaceConsumer(
  server: Server,
  connection: NatsConnection,
  { room, member, config }: { readonly room: OwnRoom; readonly member: Identity; readonly config: object },
): Promise<string> {
  const { roomId } = room.state;
  const [stream, consumer] = [streamName(roomId), consumerName(roomId, member.endpoint)];
  const bound = await call(server.ready.http, member, "PUT", `/rooms/${roomId}/durable`);
  if (bound.status !== 200) throw new Error(`PUT durable: ${bound.status} ${bound.text}`);
  await jetStream(connection, `CONSUMER.DELETE.${stream}.${consumer}`);
  const body = { stream_name: stream, config: { durable_name: consumer, ack_policy: "explicit", ...config } };
  await jetStream(connection, `CONSUMER.DURABLE.CREATE.${stream}.${consumer}`, body);
  return consumer;
}

/** Returns the number of messages in a room's stream and its last sequence; null if there is no stream. */
export async function streamState(
  connection: NatsConnection,
  room: OwnRoom,
): Promise<{ messages: number; last_seq: number; consumer_count: number } | null> {
  type Info = { state?: { messages: number; last_seq: number; consumer_count: number } };
  return (await jetStream<Info>(connection, `STREAM.INFO.${streamName(room.state.roomId)}`)).state ?? null;
}
