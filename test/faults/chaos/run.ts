/** One chaos run: three nodes, load, faults, and the verdict. */
import { addUser, at } from "../../support/peer.ts";
import { judge, type Verdict } from "./checker.ts";
import { breakThings } from "./faults.ts";
import { framesAt } from "./frames.ts";
import { Load } from "./load.ts";
import { Nodes, nodesCount } from "./nodes.ts";
import { randomOf } from "./random.ts";
import { clockMs, type Happening, type Remains } from "./record.ts";
import { Scene } from "./scene.ts";

/** How many rooms, and how many clients of each kind but probers. */
const crowd = { rooms: 3, writers: 2, members: 3, revokers: 2 } as const;
/**
 * How many clients at each node check whether removed users get in, how long each pauses between two checks, and how
 * often readers read, in milliseconds. A small run leaves the machine some CPU.
 */
const paces = {
  small: { probers: 8, probeEveryMs: 250, readEveryMs: 300 },
  full: { probers: 8, probeEveryMs: 0, readEveryMs: 100 },
} as const;
/** How long the clients may take to end, in milliseconds: longer than any of them waits for an answer. */
const endMsMax = 45_000;
const all = Array.from({ length: nodesCount }, (_, index) => index);

/** Options of a run. */
export interface RunOptions {
  /** Determines which faults occur and in which order. */
  readonly seed: number;
  /** How long faults are injected, in milliseconds; each kind of fault occurs at least once. */
  readonly forMs: number;
  /** Whether the nodes are probed as fast as they answer. */
  readonly isFull: boolean;
}

/** The result of a run. */
export interface Report extends Verdict {
  /** How many frames were acknowledged, rooms changed and reads answered: without them the verdict proves nothing. */
  readonly done: Readonly<Record<"frame" | "change" | "read", number>>;
  readonly surprises: readonly string[];
  readonly lines: readonly string[];
}

/** Starts all clients. The promise resolves when all have ended. */
function begin(load: Load, isFull: boolean): Promise<unknown> {
  const { probers, probeEveryMs, readEveryMs } = isFull ? paces.full : paces.small;
  const actors = load.parties.flatMap((party, index) => [
    ...Array.from({ length: crowd.writers }, (_, n) => load.writer(party, `w${index}.${n}`)),
    ...all.map((node) => load.reader(party, node, readEveryMs)),
    load.owner(party),
  ]);
  const [, , party] = load.parties;
  if (party !== undefined) actors.push(load.client(party));
  actors.push(...Array.from({ length: crowd.revokers }, () => load.revoker()));
  for (const node of all) {
    actors.push(load.knocker(node), ...Array.from({ length: probers }, () => load.prober(node, probeEveryMs)));
  }
  actors.push(load.inviter(), load.claimers());
  return Promise.all(actors);
}

/** Reads the final state once all nodes are ready. */
async function remainsOf(load: Load): Promise<Remains> {
  const { scene } = load;
  const readRooms = async (node: number) => {
    const rooms = load.parties.map(async ({ room }) => [room.state.roomId, await framesAt(scene, node, room)] as const);
    return new Map(await Promise.all(rooms));
  };
  const reply = await scene.ask(0, scene.admin, "GET", "/users");
  const users = reply?.json.users as { handle: string; sign_pub: string }[];
  const invited = users.filter(({ handle }) => handle.startsWith("invited-"));
  const rooms = new Map<string, string[]>();
  for (const { subject, rooms: tried } of load.claims) {
    const statuses = await Promise.all(tried.map((room) => scene.ask(1, room.owner, "GET", at(room))));
    const there = tried.filter((_, index) => statuses[index]?.status === 200);
    rooms.set(
      subject,
      there.map(({ state }) => state.roomId),
    );
  }
  const byHandle = Map.groupBy(invited, ({ handle }) => handle);
  return {
    frames: await Promise.all(all.map(readRooms)),
    users: new Map([...byHandle].map(([handle, list]) => [handle, list.map(({ sign_pub }) => sign_pub)])),
    rooms,
  };
}

/** Returns the longest gap between two of these times that overlaps a fault, in seconds. */
function longestGap(times: readonly number[], { began, repaired }: { began: number; repaired: number }): string {
  const near = times.filter((time) => time > began - 1_000 && time < repaired + 1_000);
  const gaps = [...near, repaired].map((time, index) => time - (near[index - 1] ?? began));
  return (Math.max(0, ...gaps) / 1000).toFixed(1);
}

/** Returns the summary of a run for its log. */
function linesOf(record: readonly Happening[], verdict: Verdict, tookMs: number): string[] {
  const count = (kind: Happening["kind"]) => record.filter((one) => one.kind === kind).length;
  const frames = record.flatMap((one) => (one.kind === "frame" ? [one.at] : []));
  const lines = record.flatMap((fault) => {
    if (fault.kind !== "fault") return [];
    const reads = record.flatMap((one) => (one.kind === "read" && one.node !== fault.node ? [one.at] : []));
    const changes = record.flatMap((one) => (one.kind === "change" ? [one.at] : []));
    const gaps = [frames, reads, changes].map((times) => longestGap(times, fault));
    const took = ((fault.repaired - fault.began) / 1000).toFixed(1);
    const [frame, read, change] = gaps;
    return [
      `node ${fault.node} ${fault.what}, ${took} s: no frame ${frame} s, no read ${read} s, no change ${change} s`,
    ];
  });
  const { http = 0, login = 0, publish = 0 } = verdict.checks;
  return [
    ...lines,
    `${(tookMs / 1000).toFixed(0)} s: ${count("frame")} frames, ${count("change")} changes of rooms, ` +
      `${count("removed")} removals, ${count("redeemed")} invites, ${count("claimed")} subjects, ${count("read")} reads`,
    `${http + login + publish} checks of removed users (${http} http, ${login} logins, ${publish} publishes of live ` +
      `connections), ${verdict.unanswered} unanswered`,
    `admitted after the removal, within the limits: ${verdict.admitted}, the last ${(verdict.latestMs / 1000).toFixed(2)} s after it`,
    ...verdict.violations.map((violation) => `VIOLATION: ${violation}`),
  ];
}

/** Runs it. */
export async function runChaos({ seed, forMs, isFull }: RunOptions): Promise<Report> {
  await using nodes = await Nodes.start({ linked: true });
  const scene = new Scene(nodes, await addUser(nodes.at(0), "admin", { admin: true }));
  const load = new Load(scene);
  for (let made = 0; made < crowd.rooms; made++) await load.party(crowd.members);
  const began = clockMs();
  // Reported at the end, so that the nodes are stopped as well.
  const acting = begin(load, isFull).catch((error: unknown) =>
    scene.surprises.push(`an actor failed: ${String(error)}`),
  );
  try {
    await breakThings(scene, randomOf(seed), began + forMs);
  } finally {
    scene.end();
  }
  const late = Bun.sleep(endMsMax).then(() => scene.surprises.push("an actor did not get an answer in time"));
  await Promise.race([acting, late]);
  const remains = await remainsOf(load);
  const verdict = judge(scene.record, remains);
  const count = (kind: Happening["kind"]) => scene.record.filter((one) => one.kind === kind).length;
  const done = { frame: count("frame"), change: count("change"), read: count("read") };
  return { ...verdict, done, surprises: scene.surprises, lines: linesOf(scene.record, verdict, clockMs() - began) };
}
