/**
 * The audit events: one structured log line for each change that an administrator has to be able to trace. Every such
 * line goes through `audit`, so that one place decides where they go. A line says who, what, from where and in which
 * request. It never contains a secret or the text of a message. Source: docs/operate.md.
 */
import type { Caller } from "./auth.ts";
import type { Log } from "./plugin.ts";

/** The names of the audit events. The log's message is the name with spaces. */
export const auditEvents = [
  "user_joined",
  "user_added",
  "user_renamed",
  "user_revoked",
  "user_restored",
  "user_deleted",
  "invite_created",
  "invite_cancelled",
  "room_created",
  "room_deleted",
  "room_restored",
  "members_added",
  "member_removed",
  "member_left",
  "role_changed",
  "room_rekeyed",
  "message_erased",
  "chain_admitted",
  "login_refused",
  "connection_cut",
] as const;

/** The name of an audit event. */
export type AuditEvent = (typeof auditEvents)[number];

/** The part of a request that an audit event names. */
export interface AuditedCall {
  readonly caller?: Caller | undefined;
  readonly address: string;
  readonly requestId: string;
}

/** What an event is about: ids, keys and names, in fields of their own. */
export type AuditFacts = Readonly<Record<string, string | number | boolean | readonly string[] | null>>;

/** Logs an event that happened. `call` is the request that caused it; null if none did. */
export function audit(log: Log, event: AuditEvent, call: AuditedCall | null, facts: AuditFacts): void {
  const from = call && { by: call.caller?.endpoint ?? null, address: call.address, request_id: call.requestId };
  log.info(event.replaceAll("_", " "), { event, ...from, ...facts });
}
