import {
  type ContestedChain,
  contestedMax,
  type DeniedStay,
  type Head,
  type WayBack,
  type WayBackStore,
} from "../../../contracts/way-back.ts";
import { sideBySide } from "../../../lib/side-by-side.ts";
import type { JetStream } from "../../../nats/jetstream.ts";
import { buckets } from "../../../wire/names.ts";
import { Bucket } from "../bucket.ts";
import { stayKey } from "./room-head.ts";
import type { RoomMakingDeps } from "./room-making.ts";
import { RoomRestoring } from "./room-restoring.ts";

/** The only key of the way back's state. */
const stateKey = "state";

/** The state of the way back; null after it was closed. */
interface State {
  readonly wayBack: WayBack | null;
}

/** A recorded head, and the opening that it belongs to: heads of an earlier opening do not count. */
interface NotedHead extends Head {
  readonly openedAt: number;
}

/** The contested chains of a room in one opening, and the admin's choice. */
interface Contest {
  readonly openedAt: number;
  readonly chains: readonly ContestedChain[];
  readonly taken: string | null;
}

type OpenedAt = () => Promise<number | null>;

/** Implements the contested chains and the choice between them. */
function createContests(js: JetStream, openedAt: OpenedAt) {
  const contests = new Bucket<Contest>(js, buckets.rooms, { prefix: "contested." });

  const contestOf = async (roomId: string): Promise<Contest | null> => {
    const [contest, opened] = await Promise.all([contests.get(roomId), openedAt()]);
    return contest.value?.openedAt === opened ? contest.value : null;
  };

  /** Changes a room's contest. The contest of another opening counts as absent. */
  const changeContest = async (roomId: string, change: (contest: Contest) => Contest | null): Promise<void> => {
    const opened = await openedAt();
    if (opened === null) return;
    const fresh: Contest = { openedAt: opened, chains: [], taken: null };
    await contests.change(roomId, (known) => change(known?.openedAt === opened ? known : fresh));
  };

  return {
    async noteContested(chain) {
      await changeContest(chain.roomId, (contest) => {
        const isKnown = contest.chains.some(({ hash }) => hash === chain.hash);
        if (isKnown || contest.chains.length >= contestedMax) return null;
        return { ...contest, chains: [...contest.chains, chain] };
      });
    },
    async listContested() {
      const all = await sideBySide(await contests.keys("*"), contestOf);
      const chains = all.flatMap((contest) => contest?.chains ?? []);
      const placeOf = ({ roomId, hash }: ContestedChain) => `${roomId} ${hash}`;
      return chains.sort((a, b) => (placeOf(a) < placeOf(b) ? -1 : 1));
    },
    async takeChain(roomId, hash) {
      await changeContest(roomId, (contest) => ({ ...contest, taken: hash }));
    },
    getTakenChain: async (roomId) => (await contestOf(roomId))?.taken ?? null,
  } satisfies Partial<WayBackStore>;
}

/** Implements the record of departed stays that have no row. */
function createDenied(js: JetStream) {
  const denied = new Bucket<readonly DeniedStay[]>(js, buckets.rooms, { prefix: "denied." });
  return {
    async denyStays(stays) {
      await sideBySide([...Map.groupBy(stays, ({ roomId }) => roomId)], async ([roomId, some]) => {
        await denied.change(roomId, (known) => {
          const before = known ?? [];
          const isKnown = (stay: DeniedStay) =>
            before.some(({ endpoint, since }) => endpoint === stay.endpoint && since === stay.since);
          const added = some.filter((stay) => !isKnown(stay));
          return added.length === 0 ? null : [...before, ...added];
        });
      });
    },
    async listDeniedStays(roomId) {
      const stays = (await denied.get(roomId)).value ?? [];
      return [...stays].sort((a, b) => (stayKey(a) < stayKey(b) ? -1 : 1));
    },
  } satisfies Partial<WayBackStore>;
}

/**
 * Implements the way back in the rooms' bucket. Heads, contested chains and choices contain the opening that they
 * belong to, so a single write of the state invalidates those of an earlier opening.
 */
export function createWayBack(js: JetStream, making: RoomMakingDeps): WayBackStore {
  const states = new Bucket<State>(js, buckets.rooms, { prefix: "way-back." });
  const heads = new Bucket<NotedHead>(js, buckets.rooms, { prefix: "restored-head." });
  const { kv } = making;
  const restoring = new RoomRestoring(making);

  const getWayBack = async (): Promise<WayBack | null> => (await states.get(stateKey)).value?.wayBack ?? null;
  const openedAt: OpenedAt = async () => (await getWayBack())?.openedAt ?? null;

  return {
    restoreRoom: (restoration, liveMax) => restoring.restoreRoom(restoration, liveMax),
    ...createContests(js, openedAt),
    ...createDenied(js),
    getWayBack,
    async openWayBack(wayBack) {
      // Write the heads first: they only take effect with the state.
      await sideBySide(await kv.entries.keys("*"), async (roomId) => {
        const room = (await kv.find(roomId))?.entry.room;
        if (room === undefined || room.deletedAt !== null) return;
        await heads.put(roomId, { version: room.version, hash: room.statementHash, openedAt: wayBack.openedAt });
      });
      await states.put(stateKey, { wayBack });
    },
    async closeWayBack() {
      await states.put(stateKey, { wayBack: null });
    },
    async getRestoredHead(roomId) {
      const [{ value }, opened] = await Promise.all([heads.get(roomId), openedAt()]);
      return value === null || value.openedAt !== opened ? null : { version: value.version, hash: value.hash };
    },
  };
}
