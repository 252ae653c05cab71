/** The faults of a chaos run, and how each is repaired. */
import { buckets } from "../../../src/wire/names.ts";
import type { Nodes } from "./nodes.ts";
import { nodesCount } from "./nodes.ts";
import { oneOf } from "./random.ts";
import { clockMs } from "./record.ts";
import type { Scene } from "./scene.ts";

/** How long a fault lasts, in milliseconds. */
const brokenMs = { least: 3_000, most: 9_000 } as const;
/** How long everything works between two faults, in milliseconds. */
const wholeMs = 1_500;
/** How far a clock is shifted, in seconds: slightly beyond the tolerance, and far beyond it. */
const clockShifts = [-3_600, -40, 40, 3_600] as const;

interface Fault {
  readonly what: string;
  readonly node: number;
  break(): Promise<void> | void;
  repair(): Promise<void> | void;
}

type Maker = (nodes: Nodes, node: number, random: () => number) => Fault;

const kill: Maker = (nodes, node) => ({
  ...{ what: "kill -9 and start again", node },
  break: () => nodes.kill(node),
  repair: () => nodes.boot(node),
});

const halt: Maker = (nodes, node) => ({
  ...{ what: "SIGSTOP", node },
  break: () => nodes.halt(node),
  repair: () => nodes.resume(node),
});

const cut: Maker = (nodes, node, random) => {
  const how = oneOf(["silent", "reset"] as const, random);
  return {
    ...{ what: `cut off, ${how}`, node },
    break: () => nodes.isolate(node, how),
    repair: () => nodes.rejoin(node),
  };
};

const mislead: Maker = (nodes, node, random) => {
  const shift = oneOf(clockShifts, random);
  const clock = nodes.clocks[node];
  return {
    ...{ what: clock ? `clock ${shift} s` : "no clock to move", node },
    break: () => clock?.shift(shift),
    repair: () => clock?.shift(0),
  };
};

/** Injects one fault, waits, repairs it, and waits until all nodes report that they are ready. */
async function suffer(scene: Scene, fault: Fault, forMs: number): Promise<void> {
  const began = clockMs();
  await fault.break();
  try {
    await scene.rest(forMs);
  } finally {
    await fault.repair();
  }
  await scene.nodes.untilReady();
  scene.note({ kind: "fault", began, repaired: clockMs(), what: fault.what, node: fault.node });
  await scene.rest(wholeMs);
}

/**
 * Injects faults one after the other. First each node is killed in turn, then a leader is paused, partitioned and given
 * a wrong clock; from then on faults are random.
 */
export async function breakThings(scene: Scene, random: () => number, untilMs: number): Promise<void> {
  const { nodes } = scene;
  const all = Array.from({ length: nodesCount }, (_, index) => index);
  const leader = () => nodes.leaderOf(oneOf([buckets.users, buckets.rooms], random));
  const first: (() => Promise<readonly [Maker, number]>)[] = [
    ...all.toSorted(() => random() - 0.5).map((node) => async () => [kill, node] as const),
    ...[halt, cut, mislead].map((maker) => async () => [maker, await leader()] as const),
  ];
  for (let turn = 0; turn < first.length || clockMs() < untilMs; turn++) {
    const chance = async () => {
      const isLeader = random() < 0.6;
      const node = isLeader ? await leader() : oneOf(all, random);
      return [oneOf([kill, halt, cut, mislead], random), node] as const;
    };
    const [maker, node] = await (first[turn] ?? chance)();
    await suffer(scene, maker(nodes, node, random), brokenMs.least + random() * (brokenMs.most - brokenMs.least));
  }
}
