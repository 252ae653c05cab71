/**
 * What one login to the data plane grants. A grant holds the rooms that its user made or accepted, those accepted first
 * come first, up to a number of bytes that nats-server takes in the answer to a login. So nobody can take another
 * user's data plane away by adding them to rooms. Source: spec 9, "The grant is bounded and fair".
 */
import { consumerName, deliverRoot, noticeSubject, streamName } from "../wire/names.ts";
import type { Membership } from "./store.ts";

/**
 * The most bytes that the rooms of one grant may take. The answer to a login is a JWT in a JWT, base64 in base64, so
 * that this becomes 711 KiB of the 1 MiB that one NATS message has.
 */
export const grantBytesMax = 400 * 1_024;
/** Subscriptions of one connection beyond those that its rooms and devices need. */
const spareSubscriptions = 1_000;
/** What surrounds a subject in JSON: two quotes and a comma. */
const quotesBytes = 3;

/** What a peer may do on its connections. */
export interface Grant {
  /** Subjects, never none: NATS takes an empty list for everything. */
  readonly publish: readonly string[];
  readonly subscribe: readonly string[];
  /** How many subscriptions one connection may have. */
  readonly subscriptionsMax: number;
  /** The rooms that are in it. */
  readonly roomIds: ReadonlySet<string>;
}

/** Where the devices of a member acknowledge: only for those whose consumer exists. */
function acksOf(endpoint: string, { room: { roomId, policy }, stay }: Membership): string[] {
  if (!policy.persist) return [];
  return stay.devices.map((device) => `$JS.ACK.${streamName(roomId)}.${consumerName(roomId, endpoint, device)}.>`);
}

/**
 * The grant of a peer.
 * Shape: nothing of JetStream's API, and no response permission. A peer publishes replies into others' `r` inboxes;
 * nobody publishes into an `a` inbox, where PubAcks come. `memberships` that were not accepted are left out.
 */
export function grantOf(endpoint: string, memberships: readonly Membership[]): Grant {
  const publish = ["_INBOX.*.r.>"];
  const subscribe = [`_INBOX.${endpoint}.>`, `${deliverRoot}.${endpoint}.>`, noticeSubject(endpoint, ">")];
  const roomIds = new Set<string>();
  let bytesLeft = grantBytesMax;
  let subscriptionsMax = spareSubscriptions;
  for (const membership of oldestAcceptedFirst(memberships)) {
    const { subject, roomId } = membership.room;
    const acks = acksOf(endpoint, membership);
    // Both lists name the subject.
    const bytes = [subject, subject, ...acks].reduce((sum, entry) => sum + entry.length + quotesBytes, 0);
    if (bytes > bytesLeft) continue;
    bytesLeft -= bytes;
    subscriptionsMax += 2 + acks.length;
    publish.push(subject, ...acks);
    subscribe.push(subject);
    roomIds.add(roomId);
  }
  return { publish, subscribe, subscriptionsMax, roomIds };
}

function oldestAcceptedFirst(memberships: readonly Membership[]): Membership[] {
  const at = ({ stay }: Membership): number => stay.acceptedAt ?? 0;
  return memberships
    .filter(({ stay }) => stay.acceptedAt !== null)
    .sort((a, b) => at(a) - at(b) || (a.room.roomId < b.room.roomId ? -1 : 1));
}
