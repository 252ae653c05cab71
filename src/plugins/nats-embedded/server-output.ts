/** How many lines of nats-server's log are kept to explain a failure. */
const tailLinesMax = 20;
/** How long to wait for the last output of an exited process, in milliseconds. */
const lastOutputMs = 1_000;

/** How a process ended. */
export interface Exit {
  readonly code: number | null;
  /** The signal that ended it, if any. */
  readonly signal: string | null;
}

/** Whether a line by nats-server or the Go runtime explains an exit. */
const isReason = (line: string): boolean => /\[FTL\]|^nats-server:|^panic:|^fatal error:|^runtime:/.test(line);

const withoutLevel = (line: string): string => line.replace(/^\[\w+\]\s*/, "");

/** Reads the output of one nats-server run line by line and explains how the run ended. */
export class ServerOutput {
  readonly #tail: string[] = [];
  readonly #ended: Promise<void>;
  #reason: string | undefined;
  #isShutDown = false;

  constructor(
    stream: ReadableStream<Uint8Array>,
    private readonly onLine: (line: string) => void,
  ) {
    this.#ended = this.#read(stream);
  }

  /** Why it could not start, in nats-server's own words. Waits for its last output. */
  async whyNotStarted(): Promise<string> {
    await this.#whole();
    const errorLine = this.#tail.filter((line) => /\[ERR\]|error:/i.test(line)).at(-1);
    return withoutLevel(this.#reason ?? errorLine ?? this.#tail.at(-1) ?? "it printed nothing");
  }

  /** Why a running nats-server ended. Waits for its last output. */
  async whyEnded({ code, signal }: Exit): Promise<string> {
    await this.#whole();
    if (this.#reason !== undefined) return withoutLevel(this.#reason);
    if (signal === "SIGKILL") {
      return "killed by SIGKILL: another process sent it, or the kernel ran out of memory (see dmesg)";
    }
    if (signal !== null) return `killed by ${signal}`;
    if (this.#isShutDown) return `shut down by a signal of another process, exit code ${code}`;
    return `exit code ${code}, without a reason in its log`;
  }

  async #whole(): Promise<void> {
    await Promise.race([this.#ended, Bun.sleep(lastOutputMs)]);
  }

  async #read(stream: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    let rest = "";
    for await (const chunk of stream) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) this.#add(line);
    }
    if (rest !== "") this.#add(rest);
  }

  #add(line: string): void {
    const text = line.replace(/^\[\d+\]\s*/, "").trim();
    if (text === "") return;
    // Of a panic the first line is the reason, because a long stack trace follows. Of fatal errors it is the last line.
    if (isReason(text) && !/^(panic|fatal error|runtime):/.test(this.#reason ?? "")) this.#reason = text;
    if (text.includes("Initiating Shutdown")) this.#isShutDown = true;
    this.#tail.push(text);
    if (this.#tail.length > tailLinesMax) this.#tail.shift();
    this.onLine(text);
  }
}
