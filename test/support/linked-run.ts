/** Random runs of programs that send to one room, linked by the chains of the client itself. */
import type { LinkedMessage } from "../../src/client/rooms/integrity.ts";
import type { Received } from "../../src/client/rooms/receiver.ts";
import { SenderChain } from "../../src/client/rooms/sender-chain.ts";
import { halfHash } from "../../src/wire/chain-entry.ts";
import { encodeFrame, type Frame } from "../../src/wire/frame.ts";
import { newUlid } from "../../src/wire/ulid.ts";
import type { Random } from "./timeline.ts";

/** How long a message may be in flight, in steps of at most 4 s: less than the 2 minutes that a client tries. */
const stepsInFlight = 20;
const statement = { version: 1, hash: "0".repeat(32) };

/** Endpoints, of which the first is an owner's. */
const [owner, bob, carol] = ["a", "b", "c"].map((name) => `${name.repeat(42)}A`) as [string, string, string];

interface Program {
  readonly from: string;
  chain: SenderChain;
}

interface Sent {
  readonly program: Program;
  readonly link: LinkedMessage;
  readonly frame: Frame;
  readonly onEnd: (isStored: boolean) => void;
  readonly atStep: number;
}

/** A run of four programs of three members, of whom one is an owner. */
export class LinkedRun {
  /** What the bus stores, in order. */
  readonly history: LinkedMessage[] = [];
  readonly #programs: Program[];
  #flying: Sent[] = [];
  #nowMs = 1_700_000_000_000;
  #step = 0;

  constructor(private readonly random: Random) {
    this.#programs = [owner, bob, bob, carol].map((from) => ({ from, chain: new SenderChain() }));
  }

  /** Sends, loses, restarts and erases at random; at the end every program says one more thing. */
  run(steps: number): LinkedMessage[] {
    for (; this.#step < steps; this.#step++) {
      this.#nowMs += this.random(4_000);
      const program = this.#programs[this.random(4)] as Program;
      const dice = this.random(20);
      if (dice < 12) this.#send(program);
      else if (dice === 12 && !this.#flying.some((one) => one.program === program)) this.#restart(program);
      else if (dice === 13) this.#erase(program);
      else if (this.#flying.length > 0) this.#land(this.random(this.#flying.length));
      while (this.#flying[0] !== undefined && this.#flying[0].atStep < this.#step - stepsInFlight) this.#land(0);
    }
    this.#settle();
    return this.history;
  }

  #settle(): void {
    while (this.#flying.length > 0) this.#land(0);
    for (const program of this.#programs) this.#store(this.#send(program));
    this.#flying = [];
  }

  #restart(program: Program): void {
    // Its last message declares what was not stored.
    this.#store(this.#send(program));
    this.#flying = this.#flying.filter((one) => one.program !== program);
    program.chain = new SenderChain();
  }

  #send(program: Program, erased: string | null = null): Sent {
    const header = program.chain.next(statement);
    const id = newUlid(this.#nowMs);
    const frame: Frame = { t: 0, s: "room.test", from: program.from, id, e: 1, p: "AA==" };
    const bytes = encodeFrame(frame);
    const link = { id, from: program.from, hash: halfHash(bytes), header, erased, byOwner: program.from === owner };
    const sent = { program, link, frame, onEnd: program.chain.sealed(bytes), atStep: this.#step };
    this.#flying.push(sent);
    return sent;
  }

  /** A message is stored, with its ack or without, or it is not. */
  #land(at: number): void {
    const [sent] = this.#flying.splice(at, 1) as [Sent];
    const dice = this.random(10);
    if (dice < 8) this.#store(sent);
    else if (dice === 8) this.#store(sent, false);
    else sent.onEnd(false);
  }

  #store(sent: Sent, isAcked = true): void {
    const { link, frame, onEnd } = sent;
    this.history.push(link);
    onEnd(isAcked);
    const content = { kind: "text", header: link.header, body: new Uint8Array() };
    const received = { frame, content, hash: link.hash, verified: true } as unknown as Received;
    for (const { chain } of this.#programs) chain.saw(received, true);
  }

  #erase(program: Program): void {
    const isTheirs = ({ from, header, erased }: LinkedMessage) =>
      erased === null && header.void === undefined && (program.from === owner || from === program.from);
    const targets = this.history.filter(isTheirs);
    const target = targets[this.random(targets.length)];
    if (target === undefined) return;
    const sent = this.#send(program, target.hash);
    this.#flying.pop();
    this.#store(sent);
    this.history.splice(this.history.indexOf(target), 1);
  }
}
