import type { NatsConnection } from "nats";

/** A request to one nats-server. */
export interface ReportRequest {
  /** The last token of the subject, for example `CONNZ`. */
  readonly what: string;
  readonly body?: unknown;
  readonly timeoutMs: number;
}

/**
 * Requests a report from one server, or an action, over a connection in the system account. Most replies have their
 * content in `data`.
 * Errors: those of the connection if the server does not answer in time.
 */
export async function serverReport<R>(
  system: NatsConnection,
  server: string,
  { what, body, timeoutMs }: ReportRequest,
): Promise<R> {
  const payload = body === undefined ? "" : JSON.stringify(body);
  const reply = await system.request(`$SYS.REQ.SERVER.${server}.${what}`, payload, { timeout: timeoutMs });
  return reply.json<R>();
}
