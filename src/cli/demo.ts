/**
 * The command `demo`: a scripted story on a temporary bus, to show what encryption and membership do.
 * Three people talk in an encrypted room. One is kicked, and then the demo checks that the bus refuses her, and that
 * the keys she kept open only old messages. Every step checks its result, so a demo that ends without an error is also
 * a smoke test.
 */
import { openFrame } from "../client/crypto/frames.ts";
import type { Bus, Room } from "../client/index.ts";
import { fromBase64 } from "../wire/encoding.ts";
import { contentOf } from "../wire/envelope.ts";
import { isUnibusError, UnibusError } from "../wire/errors.ts";
import { decodeFrame, encodeFrame, type Frame, isDropped } from "../wire/frame.ts";
import { CliCommand } from "./cli-command.ts";
import { DemoBus } from "./demo-bus.ts";
import { interruption } from "./interrupt.ts";
import { flushOut, printLine } from "./print.ts";
import { type Piece, painter } from "./terminal-text.ts";

/** Timeout of the demo, in milliseconds. */
const demoMs = 60_000;
/** How many characters of an id, key or ciphertext are shown. */
const shownLength = 8;

const paint = painter();

/** Prints a step of the story. */
function printStep(text: string): void {
  printLine();
  printLine(paint(text, "cyan"));
}

/** Prints the result of a step, with long ids, keys and ciphertexts shortened. */
function show(text: string, speaker: Piece = ""): void {
  const cut = text.replace(/[A-Za-z0-9_+/=-]{24,}/g, (long) => `${long.slice(0, shownLength)}…`);
  printLine("  ", speaker, cut);
}

const failed = (what: string): UnibusError => new UnibusError("internal", `the demo failed: ${what} (report it)`);

/** Returns the text of the expected refusal. Errors: internal if the work is not refused. */
async function refusalOf(what: string, work: () => Promise<unknown>): Promise<string> {
  try {
    await work();
  } catch (error) {
    if (isUnibusError(error)) return `${error.code}: ${error.message}`;
    throw error;
  }
  throw failed(`${what} was not refused`);
}

/** A conversation that shows each message as one member receives it. */
class Talk implements AsyncDisposable {
  readonly #heard;

  constructor(
    listener: Room,
    private readonly signal: AbortSignal,
  ) {
    this.#heard = listener.messages({ signal });
  }

  async say(room: Room, text: string): Promise<void> {
    await this.#heard.ready;
    await room.send(text, { signal: this.signal });
    const { value: message } = await this.#heard.next();
    if (message?.text !== text || !message.verified) throw failed(`${text} did not arrive unchanged`);
    show(`  ${message.text}`, paint(message.handle.padEnd(3), "green"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#heard[Symbol.asyncDispose]();
  }
}

/** Fetches the frames that the bus stores for a room. */
async function framesOf(bus: Bus, room: Room, signal: AbortSignal): Promise<Frame[]> {
  const { messages } = await bus.control.history(room.id, { limit: 100 }, signal);
  return messages.map((text) => {
    const frame = decodeFrame(fromBase64(text) ?? new Uint8Array());
    if (isDropped(frame)) throw failed(`the bus holds a frame that is ${frame.drop}`);
    return frame;
  });
}

interface Scene {
  readonly ana: Bus;
  readonly bob: Bus;
  readonly eve: Bus;
  readonly signal: AbortSignal;
}

/** Scene 1: three people talk in a room; what they receive, and what the bus stores. */
async function converse({ ana, bob, eve, signal }: Scene) {
  printStep("ana creates room.demo, encrypted, persisted and signed, and adds bob and eve");
  const room = await ana.createRoom("room.demo", "matrix", signal);
  await room.membership.add(["bob", "eve"], { signal });
  const { version, epoch } = room.state.state;
  show(`room ${room.id}, statement ${version}, signed by ana; epoch ${epoch}, its key sealed to each of them`);
  const [bobs, eves] = await Promise.all([bob.room("room.demo", signal), eve.room("room.demo", signal)]);

  printStep("They talk; this is what bob receives");
  await using talk = new Talk(bobs, signal);
  await talk.say(room, "The launch code is 4711.");
  await talk.say(eves, "Thank you! Noted.");
  await talk.say(bobs, "ana, are you sure about eve?");

  printStep("All that the server has of the first message");
  const [first] = await framesOf(ana, room, signal);
  if (first === undefined) throw failed("the room is empty");
  show(new TextDecoder().decode(encodeFrame(first)));
  return { room, bobs, eves, first };
}

/** Scene 2: one member is kicked; what she is refused, and what her old keys cannot open. */
async function partWays({ ana, bob, eve, signal }: Scene, talked: Awaited<ReturnType<typeof converse>>): Promise<void> {
  const { room, bobs, eves, first } = talked;
  const sealed = await eve.control.roomKey(room.id, 1, signal);
  const roomKey = await eve.identity.openRoomKey(sealed.sealed_key);

  printStep("ana removes eve: a statement that ana signs, and a new key for those who stay");
  await room.membership.kick("eve", signal);
  const { version, epoch } = room.state.state;
  show(
    `statement ${version}, signed by ana; epoch ${epoch}; members: ${room.members
      .map(({ handle }) => handle)
      .sort()
      .join(", ")}`,
  );
  await bobs.refresh(signal);
  {
    await using talk = new Talk(bobs, signal);
    await talk.say(room, "I changed the code. It is 8086.");
    await talk.say(bobs, "Good.");
  }

  printStep("eve asks the server for the history and the new key, and tries to send");
  show(await refusalOf("the history", () => eve.control.history(room.id, { limit: 10 }, signal)));
  show(await refusalOf("the key", () => eve.control.roomKey(room.id, epoch, signal)));
  show(await refusalOf("the message", () => eves.send("What is the new code?", { timeoutMs: 10_000, signal })));

  printStep("What if eve took over the server with all its data, and had kept every key she ever got?");
  for (const frame of [first, (await framesOf(bob, room, signal)).at(-2)]) {
    if (frame === undefined) throw failed("the room is empty");
    const opening = { roomId: room.id, policy: room.state.state.policy, roomKey, signPub: ana.identity.signPubHex };
    const opened = await openFrame(frame, opening);
    if (isDropped(opened) !== (frame !== first))
      throw failed("eve's key opens what it should not, or not what it should");
    const content = isDropped(opened) ? opened : contentOf(frame.t, opened.payload);
    const text = isDropped(content) ? content.drop : `"${new TextDecoder().decode(content.body)}"`;
    show(`epoch ${frame.e}, message ${frame.id}: ${text}`);
  }

  printStep("bob, who stayed, reads everything");
  for (const { handle, text } of (await bobs.history({}, signal)).messages)
    show(`  ${text}`, paint(handle.padEnd(3), "green"));
}

async function demo(): Promise<void> {
  const asked = interruption();
  const signal = AbortSignal.any([asked, AbortSignal.timeout(demoMs)]);
  const began = performance.now();
  const elapsed = () => `${((performance.now() - began) / 1_000).toFixed(1)} s`;
  try {
    printStep("Starting a bus in a temporary folder, with nats-server inside");
    await using bus = await DemoBus.start(signal);
    show(`${bus.url}, after ${elapsed()}`);
    printStep("Three people make keys; the server gets only the public halves");
    const [ana, bob, eve] = [
      await bus.join("ana", signal),
      await bus.join("bob", signal),
      await bus.join("eve", signal),
    ];
    for (const [name, { identity }] of Object.entries({ ana, bob, eve })) show(`${name}  ${identity.endpoint}`);
    const scene = { ana, bob, eve, signal };
    await partWays(scene, await converse(scene));
  } catch (error) {
    throw asked.aborted ? asked.reason : error;
  }
  printStep(`Done in ${elapsed()}. The bus has stopped, and its folder is deleted.`);
  await flushOut();
}

/** The command `demo`. Its bus exists only while it runs. */
export function demoCommand(): CliCommand {
  return new CliCommand("demo", {
    summary: "see it work: a temporary bus with three people, an encrypted room, and the removal of one of them",
    example: "unibus demo",
  }).action(demo);
}
