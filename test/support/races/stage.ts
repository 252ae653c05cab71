/** The bus on which races run, all pairs on it, and the invariants of its final state. */
import { generateIdentity } from "../../../src/client/crypto/identity.ts";
import { Doctor } from "../../../src/contracts/doctor.ts";
import { Nats } from "../../../src/contracts/nats.ts";
import { addedCharges, chargesOf } from "../../../src/contracts/rows.ts";
import { RoomStore, Snapshot, type SnapshotRow } from "../../../src/contracts/store.ts";
import { Users } from "../../../src/contracts/users.ts";
import { JetStream } from "../../../src/nats/jetstream.ts";
import { streamErrors } from "../../../src/plugins/room-streams/errors.ts";
import { bootInProcess, serviceOf } from "../in-process.ts";
import { staleNotes } from "../kv-notes.ts";
import { commandNames, mayRestore, startsRevoked } from "./commands.ts";
import { Pauses } from "./pauses.ts";
import { race, randomOf } from "./race.ts";
import type { Stage } from "./scene.ts";

export type { Stage } from "./scene.ts";

/** The default number of concurrent races on one bus: each has its own people and rooms. */
const atOnceDefault = 6;

/**
 * Every pair of commands, including a command with itself. Restoring a user is raced with the commands that it can
 * affect: beside the others the user is active throughout.
 */
export const pairs = commandNames
  .flatMap((first, index) => commandNames.slice(index).map((second) => [first, second] as const))
  .filter((pair) => !pair.includes("restore user") || startsRevoked(pair) || mayRestore(pair));

/** Limits that no race should reach: all races come from one address. */
export const settings = { "auth-callout": { logins_per_second: 100_000 } };

/** Prepares what races need from a bus. */
export async function stageOf(nodes: Stage["nodes"], pauses: Pauses): Promise<Stage> {
  const admin = await generateIdentity();
  const { signPubHex: signPub, kexPubHex: kexPub, kexSig } = admin;
  await serviceOf(nodes[0], Users).add({ signPub, handle: "admin", role: "admin", kexPub, kexSig });
  return { nodes, admin, pauses, js: new JetStream(await serviceOf(nodes[0], Nats).connection("BUS"), streamErrors) };
}

/** Starts a bus with one node. */
export async function startStage(flags: Readonly<Record<string, boolean>>, seed: number): Promise<Stage> {
  const pauses = new Pauses(randomOf(seed));
  return stageOf([await bootInProcess({ flags, settings, between: pauses.between })], pauses);
}

/** How often to race which pairs, and the seed of their order and pauses. */
export interface Raced {
  readonly seed: number;
  readonly runs: number;
  readonly of?: typeof pairs;
  /** The number of concurrent races. */
  readonly atOnce?: number;
  /**
   * Whether a race in which a command got a 503 is repeated once, and only the repetition counts: nodes that share two
   * cores may get no answer from JetStream for the 5 s that a call may take.
   */
  readonly mayBeUnavailable?: boolean;
}

/** Runs all races, some concurrently. Returns the violations, each with its pair and its run. */
export async function raceAll(stage: Stage, raced: Raced): Promise<string[]> {
  const { seed, runs, of = pairs, atOnce = atOnceDefault, mayBeUnavailable = false } = raced;
  const faults: string[] = [];
  const races = Array.from({ length: runs }, (_, run) => of.map((pair, index) => ({ pair, run, index }))).flat();
  let next = 0;
  const work = async (): Promise<void> => {
    for (let at = next++; at < races.length; at = next++) {
      const one = races[at];
      if (one === undefined) return;
      const { pair, run, index } = one;
      const random = randomOf(seed + run * of.length + index);
      const runOne = () => race(stage, pair, random).catch((error: unknown) => [`it broke off: ${String(error)}`]);
      const first = await runOne();
      const isAgain = mayBeUnavailable && first.some((fault) => fault.includes("503"));
      const found = isAgain ? await runOne() : first;
      faults.push(...found.map((fault) => `[${pair.join(" + ")}, run ${run}] ${fault}`));
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  return faults;
}

/** Recounts from every row how much each payer is charged. */
async function recount(rows: AsyncIterable<SnapshotRow>): Promise<ReadonlyMap<string, number>> {
  let sum: ReadonlyMap<string, number> = new Map();
  let creator = "";
  const none = { stays: [], keys: [], statements: [] };
  for await (const row of rows) {
    if (row.kind === "room") creator = row.room.creator;
    const of = { ...none, creator };
    if (row.kind === "room") sum = addedCharges(sum, chargesOf({ ...of, room: row.room }));
    if (row.kind === "stay") sum = addedCharges(sum, chargesOf({ ...of, stays: [row.stay] }));
    if (row.kind === "key") sum = addedCharges(sum, chargesOf({ ...of, keys: [row.key] }));
    if (row.kind === "statement") sum = addedCharges(sum, chargesOf({ ...of, statements: [row.statement] }));
  }
  return sum;
}

/** Returns the violations over a whole bus: streams against rows, and charges against a recount. */
export async function totalsOf(stage: Stage, isKv: boolean): Promise<string[]> {
  const { nodes } = stage;
  const rooms = serviceOf(nodes[0], RoomStore);
  const found = await serviceOf(nodes[0], Doctor).examine();
  const faults = found.map((finding) => JSON.stringify(finding));
  if (isKv) faults.push(...(await staleNotes(rooms, await serviceOf(nodes[0], Nats).connection("CTL"))));
  for (const [payer, bytes] of await recount(serviceOf(nodes[0], Snapshot).exportAll())) {
    const charged = await rooms.rowBytesOf(payer);
    if (charged !== bytes) faults.push(`${payer} is charged ${charged} bytes for rows of ${bytes}`);
  }
  return faults;
}
