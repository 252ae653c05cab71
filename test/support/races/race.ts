/** One race: a pair of commands started at once, the invariants afterwards, and the same again after a second round. */

import { newRoomKey } from "../../../src/client/crypto/keys.ts";
import { isIn } from "../../../src/contracts/stay-rules.ts";
import { parseStatement } from "../../../src/wire/statement.ts";
import { at, createBody, kickBody, newRoom, type OwnRoom, policy } from "../peer.ts";
import { isAllowed, statements, success } from "./answers.ts";
import { type CommandName, commands, subjectOf } from "./commands.ts";
import { type Answered, checkRace, checkState, Faults } from "./invariants.ts";
import { Scene, type Stage } from "./scene.ts";
import { type Truth, truthOf } from "./truth.ts";

/** The longest delay between the starts of the two commands, in milliseconds. */
const jitterMsMax = 4;

/** Returns a seeded generator of numbers from 0 to 1 (mulberry32). */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

type Pair = readonly [CommandName, CommandName];

async function after<T>(ms: number, work: () => Promise<T>): Promise<T> {
  if (ms > 0) await Bun.sleep(ms);
  return work();
}

/** Starts both commands at once, or a moment apart, each at its node. */
async function start(scene: Scene, [first, second]: Pair, random: () => number): Promise<readonly Answered[]> {
  const isSwapped = random() < 0.5;
  const apart = random() < 0.3 ? 0 : random() * jitterMsMax;
  const [early, late] = isSwapped ? [second, first] : [first, second];
  const [one, other] = await Promise.all([
    commands[early](scene, { node: 0, other: late }),
    after(apart, () => commands[late](scene, { node: 1, other: early })),
  ]);
  return [
    [early, one],
    [late, other],
  ];
}

/** Returns the room as its owner's client would read it now. */
function ownRoom(scene: Scene, { room }: Truth): OwnRoom {
  const { record, stays, statements: chain } = room;
  const last = parseStatement(chain.at(-1)?.text ?? "");
  if (record === null || "fault" in last) throw new Error("the room has no state");
  const { roomId, version, subject, policy: rules, epoch, keyCheck } = record;
  const state = { roomId, version, prev: last.prev, subject, policy: rules, epoch, keyCheck, lines: stays };
  return { owner: scene.owner, state, key: newRoomKey() };
}

/** The owner completes what is pending: removes members who left, with a new key for the remaining ones. */
async function settle(scene: Scene, truth: Truth, faults: Faults): Promise<void> {
  const people = [scene.owner, scene.member, scene.candidate];
  const stays = new Set(truth.room.stays.filter(isIn).map(({ endpoint }) => endpoint));
  const open = new Set(truth.room.stays.filter(({ until }) => until === 0).map(({ endpoint }) => endpoint));
  const staying = people.filter(({ endpoint }) => stays.has(endpoint));
  const leaving = people.filter(({ endpoint }) => open.has(endpoint) && !stays.has(endpoint));
  const { body } = kickBody(ownRoom(scene, truth), leaving, staying);
  const { status, text } = await scene.call(scene.owner, "POST", at(scene.room, "/rekey"), body);
  faults.check(status === 200, `the owner's rekey afterwards is answered by ${status} ${text}`);
}

/** The subject of a deleted room is free at once; the subject of a live room is taken. */
async function claim(scene: Scene, { isLive }: Truth, faults: Faults): Promise<void> {
  const { subject } = scene.room.state;
  const isTaken =
    isLive ||
    scene.attempts.some(({ room, outcome }) => {
      return room.state.subject === subject && outcome.status === success.create;
    });
  const next = newRoom(scene.owner, subject, policy("persist"));
  const { status, text } = await scene.call(scene.owner, "POST", "/rooms", createBody(next), 1);
  faults.check(status === (isTaken ? 409 : 201), `another room on the subject is answered by ${status} ${text}`);
}

/** Repeats the commands, completes what is pending, and checks the state again. */
async function again(scene: Scene, answers: readonly Answered[], faults: Faults): Promise<void> {
  for (const [command, before] of answers) {
    if (statements.has(command) || command === "create" || command === "publish") continue;
    const { status } = await commands[command](scene, { node: 1, other: otherOf(answers, command) });
    const isFine = status < 300 || [401, 403, 404, 409, 410].includes(status);
    faults.check(isFine, `${command}, ${before.status} before, is answered by ${status} when it is asked again`);
  }
  const truth = await truthOf(scene);
  for (const [command, { status }] of answers) {
    // A revoked user may be restored, even by the repetition.
    const isUndone = command === "restore user" || (command === "revoke user" && withRestoration(answers));
    if (!command.endsWith(" user") || status !== success[command] || isUndone) continue;
    const { endpoint } = subjectOf(otherOf(answers, command), scene);
    faults.check(truth.active.get(endpoint) === false, `the user of ${command} is active again`);
  }
  await claim(scene, truth, faults);
  if (truth.isLive) await settle(scene, truth, faults);
  const { room } = await checkState(scene, faults);
  faults.check(room.record?.rekeyPending !== true, "a rekey is pending after the rekey");
}

const withRestoration = (answers: readonly Answered[]): boolean =>
  answers.some(([command]) => command === "restore user");

function otherOf(answers: readonly Answered[], command: CommandName): CommandName {
  return answers.find(([name]) => name !== command)?.[0] ?? command;
}

/** Runs one race. Returns its violations. */
export async function race(stage: Stage, pair: Pair, random: () => number): Promise<string[]> {
  await using scene = await Scene.make(stage, pair);
  const faults = new Faults();
  const answers = await stage.pauses.during(() => start(scene, pair, random));
  for (const [index, [command, { status, code }]] of answers.entries()) {
    const other = answers[1 - index]?.[0] ?? command;
    const what = `${command} is answered by ${status} ${code}`;
    faults.check(isAllowed(command, other, status), what);
  }
  await checkRace(scene, answers, faults);
  if (faults.found.length === 0) await again(scene, answers, faults);
  const heard = answers.map(([command, { status }]) => `${command} ${status}`).join(", ");
  return faults.found.map((fault) => `${heard}: ${fault}`);
}
