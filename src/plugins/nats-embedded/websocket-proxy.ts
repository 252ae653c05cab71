/**
 * Carries WebSocket clients to the nats-server inside. nats-server listens on loopback alone, so without help it
 * would see
 * every client at 127.0.0.1. The proxy therefore reads the client's number from the INFO that nats-server sends
 * first, and notes
 * whose it is, before it passes INFO on. No client can log in before it has INFO, so a login that is not noted did not
 * come through this proxy, and is denied.
 *
 * Invariants: at most `waiting` connections have not logged in yet, each for 10 s at most. At most
 * `bufferBytesMax` wait in
 * either direction: then the proxy stops reading from the other side. When one side ends, the other ends at once.
 */
import type { Origin } from "../../contracts/auth.ts";
import type { Socket, SocketHandler, SocketRoute } from "../../contracts/socket.ts";
import { clientKey } from "../../wire/address.ts";
import { UnibusError } from "../../wire/errors.ts";

/** Connections that have not logged in yet, at most. Source: spec 17. */
export const waitingMax = { perAddress: 64, all: 1_024 } as const;
/** How long a connection may take to log in, in milliseconds. Source: spec 17. */
const loginWithinMs = 10_000;
/** Bytes that may wait in one direction before the proxy stops reading from the other side. Source: spec 17. */
const bufferBytesMax = 1_048_576;
/** How often a full buffer towards nats-server is looked at, in milliseconds. */
const drainLookMs = 5;
/** The longest INFO line, in bytes. */
const infoBytesMax = 65_536;

/** Close codes. Source: RFC 6455, 7.4.1. */
const closeCode = { normal: 1000, policy: 1008, internal: 1011, tryAgain: 1013 } as const;

/** Bun's WebSocket client can stop reading; the types of Bun do not say so. */
interface PausableWebSocket extends WebSocket {
  pause(): void;
  resume(): void;
}

/** Where the proxy connects to, and what it needs. */
export interface ProxyOptions {
  /** The URL of nats-server's own WebSocket listener; it changes when nats-server is restarted. */
  readonly target: () => string;
  readonly loginWithinMs?: number;
}

/** One client that came through the proxy. */
interface Client {
  readonly origin: Origin;
  /** Called when its login was accepted. */
  readonly admitted: () => void;
}

/** Counts connections that have not logged in. */
class WaitingRoom {
  readonly #byAddress = new Map<string, number>();
  #count = 0;

  /** Takes a place. Gives what frees it. Errors: rate_limited for an address, unavailable for all. */
  enter(address: string): () => void {
    const key = clientKey(address);
    const mine = this.#byAddress.get(key) ?? 0;
    if (mine >= waitingMax.perAddress) {
      throw new UnibusError(
        "rate_limited",
        `${mine} connections of this address have not logged in (log in, or wait)`,
        {
          retryAfterS: 1,
        },
      );
    }
    if (this.#count >= waitingMax.all) {
      throw new UnibusError("unavailable", "too many connections have not logged in (try again)", { retryAfterS: 1 });
    }
    this.#byAddress.set(key, mine + 1);
    this.#count += 1;
    let isFree = false;
    return () => {
      if (isFree) return;
      isFree = true;
      this.#count -= 1;
      const left = (this.#byAddress.get(key) ?? 1) - 1;
      if (left === 0) this.#byAddress.delete(key);
      else this.#byAddress.set(key, left);
    };
  }
}

/** The clients that came through the proxy, by the numbers that nats-server gave them. */
export class WebSocketProxy {
  readonly #options: ProxyOptions;
  readonly #waiting = new WaitingRoom();
  readonly #clients = new Map<number, Client>();

  constructor(options: ProxyOptions) {
    this.#options = options;
  }

  /**
   * Where the client with this number on our nats-server comes from; null for a connection that did not come
   * through the proxy.
   */
  originOf(clientId: number): Origin | null {
    return this.#clients.get(clientId)?.origin ?? null;
  }

  /** Notes that a client's login was accepted. */
  admitted(clientId: number): void {
    this.#clients.get(clientId)?.admitted();
  }

  /** Reserves a place for a connection. Errors: rate_limited, unavailable. */
  readonly accept: SocketRoute["accept"] = (origin) => {
    const leave = this.#waiting.enter(origin.address);
    return { open: (socket) => this.#open(socket, origin, leave), abandoned: leave };
  };

  #open(socket: Socket, origin: Origin, leave: () => void): SocketHandler {
    const upstream = new WebSocket(this.#options.target()) as PausableWebSocket;
    upstream.binaryType = "arraybuffer";
    let clientId: number | null = null;
    let info: Uint8Array | null = new Uint8Array(0);
    let isEnded = false;
    let draining: Timer | null = null;
    const end = (code: number, reason: string): void => {
      if (isEnded) return;
      isEnded = true;
      clearTimeout(deadline);
      if (draining !== null) clearInterval(draining);
      leave();
      if (clientId !== null) this.#clients.delete(clientId);
      upstream.close();
      socket.close(code, reason);
    };
    const deadline = setTimeout(
      () => end(closeCode.policy, "no login in time"),
      this.#options.loginWithinMs ?? loginWithinMs,
    );
    const admitted = (): void => {
      clearTimeout(deadline);
      leave();
    };
    const pass = (data: Uint8Array): void => {
      if (socket.send(data) > bufferBytesMax) upstream.pause();
    };
    // nats-server speaks first: a client has nothing to say before the other side is there.
    socket.pause();
    upstream.onopen = () => socket.resume();
    upstream.onerror = () => end(closeCode.tryAgain, "nats-server does not answer");
    upstream.onclose = () => end(closeCode.normal, "");
    upstream.onmessage = ({ data }: MessageEvent<ArrayBuffer>) => {
      if (isEnded) return;
      const bytes = new Uint8Array(data);
      if (info === null) return pass(bytes);
      const begun = joined(info, bytes);
      const number = clientNumber(begun);
      if (number === "incomplete") {
        info = begun;
        return;
      }
      if (number === "malformed") return end(closeCode.internal, "nats-server's greeting is not understood");
      info = null;
      clientId = number;
      this.#clients.set(number, { origin, admitted });
      pass(begun);
    };
    return {
      message(data) {
        if (isEnded) return;
        upstream.send(data as Uint8Array<ArrayBuffer>);
        if (upstream.bufferedAmount <= bufferBytesMax || draining !== null) return;
        socket.pause();
        // A WebSocket client has no event for a buffer that was written.
        draining = setInterval(() => {
          if (upstream.bufferedAmount > bufferBytesMax / 2) return;
          if (draining !== null) clearInterval(draining);
          draining = null;
          socket.resume();
        }, drainLookMs);
      },
      drained: () => upstream.resume(),
      closed: () => end(closeCode.normal, ""),
    };
  }
}

function joined(head: Uint8Array, tail: Uint8Array): Uint8Array {
  const all = new Uint8Array(head.length + tail.length);
  all.set(head);
  all.set(tail, head.length);
  return all;
}

/** The client's number in the INFO line with which nats-server greets. */
function clientNumber(bytes: Uint8Array): number | "incomplete" | "malformed" {
  const end = bytes.indexOf(0x0a);
  if (end === -1) return bytes.length > infoBytesMax ? "malformed" : "incomplete";
  const line = new TextDecoder().decode(bytes.subarray(0, end));
  if (!line.startsWith("INFO ")) return "malformed";
  try {
    const { client_id } = JSON.parse(line.slice("INFO ".length)) as { client_id?: unknown };
    return Number.isSafeInteger(client_id) ? (client_id as number) : "malformed";
  } catch {
    return "malformed";
  }
}
