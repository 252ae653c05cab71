/**
 * A NATS connection over a browser's WebSocket, as far as the client needs it. The NATS library for browsers is as
 * large as a quarter of the whole client, and cannot wait for a signature. It never reconnects: see `DataConnection`.
 */
import { bytesOf } from "../../wire/encoding.ts";
import type { DataConnection, NatsDial, NatsMessage, NatsSubscription, Refusal } from "./nats-connection.ts";
import { type NatsEvent, NatsParser } from "./nats-parser.ts";

/** How many of its own pings may be without an answer before a server counts as gone. */
const pingsMax = 2;

/** The error of a server that refuses the login. */
export class LoginRefused extends Error {}

const loginErrors = /^(authorization violation|user authentication|account authentication)/i;
const refusals = /^permissions violation for (publish|subscription) to "([^"]+)"/i;

interface Subscription extends NatsSubscription {
  readonly subject: string;
  readonly onMessage: (message: NatsMessage) => void;
  end(): void;
}

interface Watcher {
  readonly onRefusal: (refusal: Refusal) => void;
  readonly onTrouble: (error: unknown) => void;
}

/** Opens a connection and logs in. Errors: `LoginRefused`; what `login` throws; a plain Error if it is not reached. */
export async function dialSocket(dial: NatsDial): Promise<DataConnection> {
  const made = new NatsSocket(new WebSocket(dial.url), dial);
  await made.opened();
  return made;
}

/** A promise, and what settles it. */
function settled<T>() {
  let resolve: (value: T) => void = () => undefined;
  let reject: (error: Error) => void = () => undefined;
  const promise = new Promise<T>((...given) => {
    [resolve, reject] = given;
  });
  return { promise, resolve, reject };
}

class NatsSocket implements DataConnection {
  readonly #parser = new NatsParser();
  readonly #subscriptions = new Map<string, Subscription>();
  /** What waits for the next PONGs, in order. */
  readonly #pongs: { readonly resolve: () => void; readonly reject: (error: Error) => void }[] = [];
  readonly #closed = settled<unknown>();
  readonly #login = settled<void>();
  #state: "open" | "draining" | "closed" = "open";
  /** What is sent in this turn. */
  #unsent: Uint8Array[] = [];
  #sid = 0;
  #isGreeted = false;
  #unanswered = 0;
  #watcher: Watcher | null = null;
  #pinging: ReturnType<typeof setInterval> | undefined;
  readonly #timer: ReturnType<typeof setTimeout>;

  constructor(
    private readonly socket: WebSocket,
    private readonly dial: NatsDial,
  ) {
    socket.binaryType = "arraybuffer";
    this.#timer = setTimeout(() => this.#end(new Error("connection timed out")), dial.timeoutMs);
    socket.addEventListener("message", ({ data }) => this.#take(data));
    socket.addEventListener("error", () => this.#end(new Error("the WebSocket failed")));
    socket.addEventListener("close", ({ reason }) => this.#end(new Error(reason || "the WebSocket was closed")));
    this.#login.promise.catch(() => undefined);
  }

  /** Resolves when the server accepted the login. */
  opened(): Promise<void> {
    return this.#login.promise;
  }

  publish(subject: string, data: Uint8Array | string, options: { reply?: string; messageId?: string }): void {
    if (this.#state !== "open") throw new Error("the connection is closed");
    const bytes = typeof data === "string" ? bytesOf(data) : data;
    const { reply, messageId } = options;
    const target = reply === undefined ? subject : `${subject} ${reply}`;
    if (messageId === undefined) this.#send(`PUB ${target} ${bytes.length}\r\n`, bytes, "\r\n");
    else {
      if (!/^[A-Za-z0-9._-]+$/.test(messageId)) throw new TypeError("not an id that fits into a header");
      const headers = `NATS/1.0\r\nNats-Msg-Id: ${messageId}\r\n\r\n`;
      const total = headers.length + bytes.length;
      this.#send(`HPUB ${target} ${headers.length} ${total}\r\n${headers}`, bytes, "\r\n");
    }
  }

  subscribe(subject: string, onMessage: (message: NatsMessage) => void, onEnd: () => void): NatsSubscription {
    if (this.#state !== "open") throw new Error("the connection is closed");
    this.#sid += 1;
    const sid = String(this.#sid);
    const remove = () => this.#subscriptions.delete(sid);
    const made: Subscription = {
      ...{ subject, onMessage },
      unsubscribe: () => {
        if (remove() && this.#state !== "closed") this.#send(`UNSUB ${sid}\r\n`);
      },
      isClosed: () => this.#subscriptions.get(sid) !== made,
      end: () => {
        remove();
        onEnd();
      },
    };
    this.#subscriptions.set(sid, made);
    this.#send(`SUB ${subject} ${sid}\r\n`);
    return made;
  }

  flush(): Promise<void> {
    if (this.#state === "closed") return Promise.reject(new Error("the connection is closed"));
    return new Promise((resolve, reject) => {
      this.#pongs.push({ resolve, reject });
      this.#send("PING\r\n");
    });
  }

  async drain(): Promise<void> {
    if (this.#state !== "open") throw new Error("the connection is closed");
    this.#state = "draining";
    for (const sid of this.#subscriptions.keys()) this.#send(`UNSUB ${sid}\r\n`);
    await this.flush();
    await this.close();
  }

  async close(): Promise<void> {
    this.#write();
    this.#end(null);
  }

  closed(): Promise<unknown> {
    return this.#closed.promise;
  }

  isClosed(): boolean {
    return this.#state === "closed";
  }

  watch(watcher: Watcher): void {
    this.#watcher = watcher;
  }

  #take(data: unknown): void {
    if (this.#state === "closed") return;
    try {
      if (!(data instanceof ArrayBuffer)) throw new Error("the server does not speak NATS");
      for (const event of this.#parser.take(new Uint8Array(data))) this.#handle(event);
    } catch (error) {
      this.#end(error as Error);
    }
  }

  #handle(event: NatsEvent): void {
    if (event.kind === "message") this.#deliver(event);
    else if (event.kind === "ping") this.#send("PONG\r\n");
    else if (event.kind === "error") this.#refused(event.text);
    else if (event.kind !== "info") {
      this.#unanswered = 0;
      this.#pongs.shift()?.resolve();
    } else if (!this.#isGreeted) {
      // A later INFO is about other servers, which this connection does not need.
      void this.#greet(event.json).catch((error: Error) => this.#end(error));
    }
  }

  #deliver(message: NatsMessage & { readonly sid: string }): void {
    try {
      this.#subscriptions.get(message.sid)?.onMessage(message);
    } catch (error) {
      this.#watcher?.onTrouble(error);
    }
  }

  async #greet(json: string): Promise<void> {
    this.#isGreeted = true;
    const { nonce } = JSON.parse(json) as { nonce?: string };
    const login = await this.dial.login(nonce);
    const options = { verbose: false, pedantic: false, protocol: 1, headers: true, no_responders: true };
    this.#send(`CONNECT ${JSON.stringify({ ...options, lang: "javascript", version: "1", ...login })}\r\n`);
    await this.flush();
    clearTimeout(this.#timer);
    this.#pinging = setInterval(() => this.#ping(), this.dial.pingEveryMs);
    this.#login.resolve();
  }

  #ping(): void {
    this.#unanswered += 1;
    if (this.#unanswered > pingsMax) this.#end(new Error("the server does not answer"));
    else this.flush().catch(() => undefined);
  }

  #refused(text: string): void {
    const [, operation = "", subject = ""] = refusals.exec(text) ?? [];
    if (subject === "") {
      const error = loginErrors.test(text) ? new LoginRefused(text) : new Error(text);
      this.#login.reject(error);
      this.#watcher?.onTrouble(error);
      return;
    }
    const isSubscription = operation.toLowerCase() === "subscription";
    const ended = [...this.#subscriptions.values()].filter((one) => isSubscription && one.subject === subject);
    for (const one of ended) one.end();
    this.#watcher?.onRefusal({ operation: operation.toLowerCase(), subject });
  }

  #send(...parts: readonly (string | Uint8Array)[]): void {
    if (this.#unsent.length === 0) queueMicrotask(() => this.#write());
    for (const part of parts) this.#unsent.push(typeof part === "string" ? bytesOf(part) : part);
  }

  /** Sends everything of one turn in one message of the WebSocket. */
  #write(): void {
    if (this.#unsent.length === 0 || this.socket.readyState !== WebSocket.OPEN) return;
    const all = new Uint8Array(this.#unsent.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const part of this.#unsent) {
      all.set(part, at);
      at += part.length;
    }
    this.#unsent = [];
    this.socket.send(all);
  }

  /** Ends the connection, by itself (null) or because of an error. */
  #end(error: Error | null): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    clearTimeout(this.#timer);
    clearInterval(this.#pinging);
    this.socket.close();
    const why = error ?? new Error("the connection is closed");
    this.#login.reject(why);
    for (const { reject } of this.#pongs.splice(0)) reject(why);
    this.#subscriptions.clear();
    this.#closed.resolve(error ?? undefined);
  }
}
