/**
 * Proxies WebSocket clients to the embedded nats-server, which listens only on loopback and would otherwise see every
 * client at 127.0.0.1. The proxy reads the client id from the INFO line that nats-server sends first, and records the
 * client's address under it before it passes INFO on. No client can log in before INFO, so a login without a record did
 * not come through this proxy and is denied.
 *
 * Invariants: at most `waitingMax` connections have not logged in yet, each for at most 10 s. At most `bufferBytesMax`
 * are buffered in each direction; above that the proxy stops reading from the other side (backpressure). When one side
 * closes, the other is closed immediately.
 */
import type { Origin } from "../../contracts/auth.ts";
import type { Socket, SocketHandler, SocketRoute } from "../../contracts/socket.ts";
import { clientKey } from "../../wire/address.ts";
import { UnibusError } from "../../wire/errors.ts";

/** Maximum number of connections that have not logged in. */
const waitingMax = { perAddress: 64, all: 1_024 } as const;
/** How long a connection may take to log in, in milliseconds. */
const loginWithinMs = 10_000;
/** Bytes buffered in one direction before the proxy stops reading from the other side. */
const bufferBytesMax = 1_048_576;
/** How often a full buffer towards nats-server is checked, in milliseconds. */
const drainLookMs = 5;
/** Maximum length of an INFO line, in bytes. */
const infoBytesMax = 65_536;

/** WebSocket close codes. Source: RFC 6455, 7.4.1. */
const closeCode = { normal: 1000, policy: 1008, internal: 1011, tryAgain: 1013 } as const;

/** Bun's WebSocket client can pause reading, which Bun's types lack. */
interface PausableWebSocket extends WebSocket {
  pause(): void;
  resume(): void;
}

/** Options of the proxy. */
export interface ProxyOptions {
  /** Returns the URL of nats-server's own WebSocket listener, which may change when nats-server restarts. */
  readonly target: () => string;
  readonly loginWithinMs?: number;
}

/** One client of the proxy. */
interface Client {
  readonly origin: Origin;
  /** Called when the client's login was accepted. */
  readonly admitted: () => void;
}

/** Counts connections that have not logged in. */
class WaitingRoom {
  readonly #byAddress = new Map<string, number>();
  #count = 0;

  /** Takes a place and returns the function that frees it. Errors: rate_limited for an address; unavailable for all. */
  enter(address: string): () => void {
    const key = clientKey(address);
    const mine = this.#byAddress.get(key) ?? 0;
    if (mine >= waitingMax.perAddress) {
      throw new UnibusError(
        "rate_limited",
        `${mine} connections from this address have not logged in (log in, or wait)`,
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

/** Proxies WebSocket clients, recorded by the ids that nats-server gives them. */
export class WebSocketProxy {
  readonly #options: ProxyOptions;
  readonly #waiting = new WaitingRoom();
  readonly #clients = new Map<number, Client>();

  constructor(options: ProxyOptions) {
    this.#options = options;
  }

  /** The origin of the client with this id on our nats-server, or null if it did not come through the proxy. */
  originOf(clientId: number): Origin | null {
    return this.#clients.get(clientId)?.origin ?? null;
  }

  /** Records that a client's login was accepted. */
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
    // Do not read from the client before nats-server, which speaks first, is connected.
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
      if (number === "malformed") return end(closeCode.internal, "malformed INFO from nats-server");
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
        // Bun's WebSocket client has no drain event, so poll.
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

/** Parses the client id from nats-server's INFO line. */
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
