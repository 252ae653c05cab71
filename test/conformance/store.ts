import { describe } from "bun:test";
import type { InviteStore, RoomStore, Snapshot, UserStore, WayBackStore } from "../../src/contracts/index.ts";
import { acceptanceCases } from "./store-acceptance.ts";
import { brokenCases } from "./store-broken.ts";
import { changeCases } from "./store-changes.ts";
import { chargeCases } from "./store-charges.ts";
import { deletionCases } from "./store-deletion.ts";
import { inviteCases } from "./store-invites.ts";
import { roomCases } from "./store-rooms.ts";
import { snapshotCases } from "./store-snapshot.ts";
import { userCases } from "./store-users.ts";
import { wayBackCases } from "./store-way-back.ts";

/** A store that a case does not share with others. */
export interface StoreUnderTest {
  readonly rooms: RoomStore;
  readonly users: UserStore;
  readonly invites: InviteStore;
  readonly snapshot: Snapshot;
  readonly wayBack: WayBackStore;
  /** Removes the store's backend for good; afterwards every port must throw `unavailable`. */
  breakBackend(): unknown;
  /** Releases all resources; also called after `breakBackend`. */
  close(): unknown;
}

/** Opens an empty store. Several may be open at once. */
export type OpenStore = () => Promise<StoreUnderTest>;

/** Registers every promise of the store ports as tests. A store must pass all of them; none can be skipped. */
export function storeConformance(name: string, open: OpenStore): void {
  describe(`store ${name}`, () => {
    userCases(open);
    inviteCases(open);
    roomCases(open);
    changeCases(open);
    chargeCases(open);
    acceptanceCases(open);
    deletionCases(open);
    snapshotCases(open);
    wayBackCases(open);
    brokenCases(open);
  });
}
