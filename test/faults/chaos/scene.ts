/** What all clients of a run share: the nodes, the record, and requests to nodes that may be down. */
import type { NatsConnection } from "nats";
import type { Identity } from "../../../src/client/crypto/identity.ts";
import { dial, type Reply, send, signedHeaders } from "../../support/peer.ts";
import { type Nodes, nodesCount } from "./nodes.ts";
import { oneOf } from "./random.ts";
import { clockMs, type Happening } from "./record.ts";

/** How long to wait for an answer, in milliseconds: more than a healthy bus ever takes. */
const askTimeoutMs = 8_000;
/** How long a refused client waits before the next attempt, in milliseconds. */
const pauseMs = 30;

type Untimed<H extends Happening> = H extends Happening ? Omit<H, "at"> : never;

/** Publishes a frame. Returns its sequence when it is acknowledged; null when it is refused or unanswered. */
export async function published(
  connection: NatsConnection,
  subject: string,
  text: string,
  timeoutMs: number,
): Promise<number | null> {
  const reply = await connection.request(subject, text, { timeout: timeoutMs }).catch(() => null);
  const ack = reply?.json<{ seq?: number; error?: unknown }>();
  return ack === undefined || ack.error !== undefined ? null : (ack.seq ?? null);
}

/** A reply, or null if there was none. */
export type Answer = Reply | null;

/** A chaos run: its clients write to its record, and end when it is over. */
export class Scene {
  readonly record: Happening[] = [];
  /** Unexpected events that the checker cannot judge and that must not happen. */
  readonly surprises: string[] = [];
  #isOver = false;

  constructor(
    readonly nodes: Nodes,
    readonly admin: Identity,
  ) {}

  get isOver(): boolean {
    return this.#isOver;
  }

  /** Signals all clients to end. */
  end(): void {
    this.#isOver = true;
  }

  /** Records an event with the current time. */
  note(happening: Untimed<Happening>): void {
    this.record.push({ ...happening, at: clockMs() });
  }

  /** Returns a random node, running or not. */
  anyNode(): number {
    return oneOf(Array.from({ length: nodesCount }, (_, index) => index));
  }

  /** Sends a signed request to a node; null if there is no answer. `who` null sends it unsigned. */
  async ask(node: number, who: Identity | null, method: string, target: string, body?: unknown): Promise<Answer> {
    const url = this.nodes.url(node);
    const text = body === undefined ? {} : { body: JSON.stringify(body) };
    const headers = who === null ? {} : signedHeaders(who, { url, method, target, ...text });
    const signal = AbortSignal.timeout(askTimeoutMs);
    return send(`${url}${target}`, { method, headers, signal, ...text }).catch(() => null);
  }

  /** Sends a request to random nodes until one answers with a wanted status, or the run is over. */
  async askUntil(
    wanted: readonly number[],
    ...request: readonly [Identity, string, string, unknown?]
  ): Promise<Answer> {
    while (!this.isOver) {
      const reply = await this.ask(this.anyNode(), ...request);
      if (reply !== null && wanted.includes(reply.status)) return reply;
      await this.rest();
    }
    return null;
  }

  /** Connects to a node; null if that fails. */
  async dial(node: number, who: Identity): Promise<NatsConnection | null> {
    const at = { url: this.nodes.nats(node), timeout: askTimeoutMs };
    return dial({ ready: { nats: at.url } } as Parameters<typeof dial>[0], who, at).catch(() => null);
  }

  /** Pauses between two attempts, so that the load is not a flood. */
  rest(ms = pauseMs): Promise<void> {
    return Bun.sleep(ms);
  }
}
