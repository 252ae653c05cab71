import type { Membership } from "../../contracts/store.ts";
import { consumerName, deliverRoot, mainDevice, noticeSubject, streamName } from "../../wire/names.ts";
import type { Permissions } from "./jwt.ts";

/**
 * What a peer may do, from its memberships alone.
 * Shape: nothing of JetStream's API, no response permission; a peer publishes replies into others' `r` inboxes, and
 * nobody publishes into an `a` inbox, where PubAcks come.
 * Source: spec 9.
 */
export function permissionsOf(endpoint: string, memberships: readonly Membership[]): Permissions {
  const subjects = memberships.map(({ room }) => room.subject);
  const persisted = memberships.filter(({ room }) => room.policy.persist);
  const acks = persisted.flatMap(({ room: { roomId }, stay }) =>
    [...new Set([mainDevice, ...stay.devices])].map(
      (device) => `$JS.ACK.${streamName(roomId)}.${consumerName(roomId, endpoint, device)}.>`,
    ),
  );
  return {
    publish: ["_INBOX.*.r.>", ...subjects, ...acks],
    subscribe: [
      `_INBOX.${endpoint}.>`,
      noticeSubject(endpoint, ">"),
      ...subjects,
      ...persisted.map(({ room }) => `${deliverRoot}.${endpoint}.${room.roomId}.*`),
    ],
  };
}
