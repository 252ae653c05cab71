/**
 * The data plane permissions of one login. A grant contains the rooms that the user created or accepted, in order of
 * acceptance, up to the size that nats-server accepts in the reply to a login. So no one can cut a user off from the
 * data plane by adding them to rooms. Signals get only the space that all rooms together leave. Source:
 * docs/protocol/logins.md.
 */
import { consumerName, deliverRoot, noticeSubject, signalSubject, streamName } from "../wire/names.ts";
import type { GrantableMembership } from "./rooms.ts";
import type { Membership } from "./store.ts";

/**
 * The most bytes that the rooms of one grant may take. The reply to a login is a JWT within a JWT, base64 within
 * base64, so this becomes 711 KiB of the 1 MiB limit of a NATS message.
 */
export const grantBytesMax = 400 * 1_024;
/** Extra subscriptions of one connection, on top of those that its rooms and devices need. */
const spareSubscriptions = 1_000;
/** The JSON overhead of each subject: two quotes and a comma. */
const quotesBytes = 3;

/** The permissions of one user's connections. */
export interface Grant {
  /** Subjects. Never empty, because NATS treats an empty list as "allow everything". */
  readonly publish: readonly string[];
  readonly subscribe: readonly string[];
  /** The most subscriptions that one connection may have. */
  readonly subscriptionsMax: number;
  /** The rooms that the grant covers. */
  readonly roomIds: ReadonlySet<string>;
}

/** A membership; without `signals` its room has none. */
type Grantable = Membership & Partial<Pick<GrantableMembership, "signals">>;

/** The ack subjects of a member's devices; only devices with an existing consumer are listed. */
function acksOf(endpoint: string, { room: { roomId, policy }, stay }: Membership): string[] {
  if (!policy.persist) return [];
  return stay.devices.map((device) => `$JS.ACK.${streamName(roomId)}.${consumerName(roomId, endpoint, device)}.>`);
}

/**
 * Computes the grant of a user.
 * Shape: no access to the JetStream API, and no response permissions. Users publish replies to the `r` inboxes of
 * others; no user can publish to an `a` inbox, which receives PubAcks. Memberships that were not accepted are left out.
 * Signals: users publish their own, and receive those of the room.
 */
export function grantOf(endpoint: string, memberships: readonly Grantable[]): Grant {
  const publish = ["_INBOX.*.r.>"];
  const subscribe = [`_INBOX.${endpoint}.>`, `${deliverRoot}.${endpoint}.>`, noticeSubject(endpoint, ">")];
  const roomIds = new Set<string>();
  let bytesLeft = grantBytesMax;
  let subscriptionsMax = spareSubscriptions;
  const signalling: string[] = [];
  for (const membership of oldestAcceptedFirst(memberships)) {
    const { subject, roomId } = membership.room;
    const acks = acksOf(endpoint, membership);
    // The subject is in both lists.
    const bytes = [subject, subject, ...acks].reduce((sum, entry) => sum + entry.length + quotesBytes, 0);
    if (bytes > bytesLeft) continue;
    bytesLeft -= bytes;
    subscriptionsMax += 2 + acks.length;
    publish.push(subject, ...acks);
    subscribe.push(subject);
    roomIds.add(roomId);
    if (membership.signals === true) signalling.push(roomId);
  }
  for (const roomId of signalling) {
    const [own, all] = [signalSubject(roomId, endpoint), signalSubject(roomId, "*")];
    bytesLeft -= own.length + all.length + 2 * quotesBytes;
    if (bytesLeft < 0) break;
    subscriptionsMax += 1;
    publish.push(own);
    subscribe.push(all);
  }
  return { publish, subscribe, subscriptionsMax, roomIds };
}

function oldestAcceptedFirst(memberships: readonly Grantable[]): Grantable[] {
  const at = ({ stay }: Membership): number => stay.acceptedAt ?? 0;
  return memberships
    .filter(({ stay }) => stay.acceptedAt !== null)
    .sort((a, b) => at(a) - at(b) || (a.room.roomId < b.room.roomId ? -1 : 1));
}
