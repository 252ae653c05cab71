/** A peer built from the client's own layers below the bus object: control plane, state, trust, keys, changes. */

import type { Identity } from "../../src/client/crypto/identity.ts";
import { type PeerKeys, VerifiedKeys } from "../../src/client/crypto/verified-keys.ts";
import { createRoom, RoomChanges } from "../../src/client/rooms/room-changes.ts";
import { ControlPlane } from "../../src/client/transport/control.ts";
import { Directory } from "../../src/client/trust/directory.ts";
import { RoomKeys } from "../../src/client/trust/room-keys.ts";
import { RoomTrust } from "../../src/client/trust/room-trust.ts";
import { type ClientState, MemoryState } from "../../src/client/trust/state.ts";
import type { UnibusError } from "../../src/wire/errors.ts";
import { isUnibusError } from "../../src/wire/errors.ts";
import type { Policy } from "../../src/wire/statement.ts";
import { freshSubject } from "./peer.ts";

/** A room as a peer holds it. */
export interface HeldRoom {
  readonly trust: RoomTrust;
  readonly keys: RoomKeys;
  readonly changes: RoomChanges;
}

/** Builds a peer with its own client state, or with the one given. */
export function trustingPeer(identity: Identity, urls: readonly string[], state: ClientState = new MemoryState()) {
  const control = new ControlPlane({ urls, identity });
  const parts = { control, state, vouched: new VerifiedKeys() };
  const held = (trust: RoomTrust, keys: RoomKeys): HeldRoom => ({
    ...{ trust, keys, changes: new RoomChanges(trust, keys, parts) },
  });
  return {
    identity,
    control,
    state,
    directory: new Directory(control, state, parts.vouched),
    async create(policy: Policy, subject = freshSubject()): Promise<HeldRoom> {
      const { trust, keys } = await createRoom({ subject, policy }, parts);
      return held(trust, keys);
    },
    async open(roomId: string): Promise<HeldRoom> {
      const trust = await RoomTrust.open(roomId, parts);
      return held(trust, new RoomKeys(trust, control));
    },
  };
}

/** A peer as `trustingPeer` builds it. */
export type TrustingPeer = ReturnType<typeof trustingPeer>;

/** Returns an identity's own keys, as a directory shows them. */
export function keysOf({ endpoint, signPubHex, kexPubHex, kexSig }: Identity): PeerKeys {
  return { endpoint, sign_pub: signPubHex, kex_pub: kexPubHex, kex_sig: kexSig };
}

/**
 * Returns the error that `work` rejects with. Throws if it does not reject, or with an error that is not a UnibusError.
 */
export async function failureOf(work: () => Promise<unknown>): Promise<UnibusError> {
  try {
    await work();
  } catch (error) {
    if (isUnibusError(error)) return error;
    throw error;
  }
  throw new Error("it did not fail");
}
