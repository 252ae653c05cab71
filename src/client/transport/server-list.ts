/**
 * The addresses of the data plane, in the order of attempts: NATS over TCP first, then WebSocket, which works in more
 * networks and costs more. Nodes of one kind are rotated, to spread clients over them. The kind that worked last is
 * tried first, so that a client behind a firewall does not wait for TCP at every new connection.
 */
import { UnibusError } from "../../wire/errors.ts";

type Kind = "tcp" | "websocket";
const kindOf = (url: string): Kind => (/^wss?:/.test(url) ? "websocket" : "tcp");

/** A failed attempt to connect to one address. */
export interface Attempt {
  readonly url: string;
  readonly error: unknown;
}

/** The addresses of one bus. */
export class ServerList {
  #urls: readonly string[];
  #preferred: Kind = "tcp";
  /** The number of rounds so far, from a random start: the rotation of each kind. */
  #turn = Math.floor(Math.random() * 1_000);
  /** Addresses of this round that were not tried yet. */
  #round: string[] = [];

  constructor(urls: readonly string[]) {
    this.#urls = urls;
  }

  get size(): number {
    return this.#urls.length;
  }

  /** Replaces the addresses. If they are the same, the current round continues, so that each gets its turn. */
  replace(urls: readonly string[]): void {
    const isSame = urls.length === this.#urls.length && urls.every((url) => this.#urls.includes(url));
    if (isSame) return;
    this.#urls = urls;
    this.#round = [];
  }

  /** The next address to try. Each address is tried once in a round. */
  next(): string {
    if (this.#round.length === 0) this.#round = this.#newRound();
    return this.#round.shift() ?? "";
  }

  /** Records a successful connection. The next one starts a new round, with addresses of the same kind first. */
  worked(url: string): void {
    this.#preferred = kindOf(url);
    this.#round = [];
  }

  #newRound(): string[] {
    const turn = this.#turn++;
    const rotated = (kind: Kind): string[] => {
      const mine = this.#urls.filter((url) => kindOf(url) === kind);
      const start = mine.length === 0 ? 0 : turn % mine.length;
      return [...mine.slice(start), ...mine.slice(0, start)];
    };
    return this.#preferred === "tcp"
      ? [...rotated("tcp"), ...rotated("websocket")]
      : [...rotated("websocket"), ...rotated("tcp")];
  }
}

/** The error if no address could be reached. It names each address and the reason. */
export function failureOf(attempts: readonly Attempt[]): UnibusError {
  const tried = attempts.map(({ url, error }) => `${url}: ${reasonOf(error)}`).join("; ");
  const hint = attempts.every(({ url }) => kindOf(url) === "websocket")
    ? "let the reverse proxy forward WebSockets, or try again"
    : "open one of these ports, or try again";
  const message = `cannot reach the server's NATS addresses: ${tried} (${hint})`;
  return new UnibusError("unavailable", message, { cause: attempts.at(-1)?.error });
}

function reasonOf(error: unknown): string {
  const cause = (error as { cause?: unknown } | null)?.cause ?? error;
  const { message, code } = (cause ?? {}) as { message?: unknown; code?: unknown };
  return typeof message === "string" && message !== "" ? message : String(code ?? "no connection");
}
