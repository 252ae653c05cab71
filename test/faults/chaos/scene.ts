/** What all who make load share: the nodes, the record, and how to ask a node that may be broken. */
import type { NatsConnection } from "nats";
import type { Identity } from "../../../src/client/crypto/identity.ts";
import { dial, type Reply, send, signedHeaders } from "../../support/peer.ts";
import { type Nodes, nodesCount } from "./nodes.ts";
import { oneOf } from "./random.ts";
import { clockMs, type Happening } from "./record.ts";

/** How long an answer is waited for, in milliseconds: more than a healthy bus ever takes. */
const askTimeoutMs = 8_000;
/** How long who was refused waits before the next attempt, in milliseconds. */
const pauseMs = 30;

type Untimed<H extends Happening> = H extends Happening ? Omit<H, "at"> : never;

/** The sequence of a frame that was acknowledged; null for one that was refused, also by no answer. */
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

/** A reply, or null where none came. */
export type Answer = Reply | null;

/** A run: whoever makes load writes into its record, and ends when it is over. */
export class Scene {
  readonly record: Happening[] = [];
  /** Things that no checker can judge, and that must not happen. */
  readonly surprises: string[] = [];
  #isOver = false;

  constructor(
    readonly nodes: Nodes,
    readonly admin: Identity,
  ) {}

  get isOver(): boolean {
    return this.#isOver;
  }

  /** Tells everybody to end. */
  end(): void {
    this.#isOver = true;
  }

  /** Writes down what happened, as of now. */
  note(happening: Untimed<Happening>): void {
    this.record.push({ ...happening, at: clockMs() });
  }

  /** Any node, running or not. */
  anyNode(): number {
    return oneOf(Array.from({ length: nodesCount }, (_, index) => index));
  }

  /** A signed request to a node; null when no answer comes. `who` null sends it unsigned. */
  async ask(node: number, who: Identity | null, method: string, target: string, body?: unknown): Promise<Answer> {
    const url = this.nodes.url(node);
    const text = body === undefined ? {} : { body: JSON.stringify(body) };
    const headers = who === null ? {} : signedHeaders(who, { url, method, target, ...text });
    const signal = AbortSignal.timeout(askTimeoutMs);
    return send(`${url}${target}`, { method, headers, signal, ...text }).catch(() => null);
  }

  /** Asks node after node until one gives one of the wanted statuses, or the run is over. */
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

  /** A connection at some node, or null where that does not come about. */
  async dial(node: number, who: Identity): Promise<NatsConnection | null> {
    const at = { url: this.nodes.nats(node), timeout: askTimeoutMs };
    return dial({ ready: { nats: at.url } } as Parameters<typeof dial>[0], who, at).catch(() => null);
  }

  /** Load, not a flood: a moment between two attempts. */
  rest(ms = pauseMs): Promise<void> {
    return Bun.sleep(ms);
  }
}
