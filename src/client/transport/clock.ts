/**
 * The server's clock, which the client uses to date messages and to sign requests.
 *
 * The first `/info` of a process sets the offset between the server's clock and this computer's. From then on the
 * monotonic clock counts the time, so that neither a change of this computer's clock nor a later reply of the server
 * moves it. A malicious server could use a future date to get a signature that it replays later. So the offset is
 * bounded, and over an unencrypted connection the server's clock is never followed.
 */
import { UnibusError } from "../../wire/errors.ts";

/**
 * How far the server's clock may differ from this computer's, in milliseconds: without a warning, ahead, and behind.
 */
const offsetMs = { unnoticed: 30_000, ahead: 5 * 60_000, behind: 24 * 3_600_000 } as const;
/**
 * The largest difference from the server's clock at which this computer's clock can judge whether a message is late, in
 * milliseconds.
 */
const sureMs = 10 * 60_000;

/** This computer's clocks. Tests replace them. */
export interface OwnClock {
  /** Milliseconds since 1970. */
  readonly wallMs: () => number;
  /** Milliseconds since an arbitrary moment; monotonic. */
  readonly steadyMs: () => number;
}

const systemClock: OwnClock = { wallMs: () => Date.now(), steadyMs: () => performance.now() };

/** The options of a `BusClock`. */
export interface BusClockOptions {
  readonly own?: OwnClock | undefined;
  /** Follows the server's clock however large the offset is. Never over a cleartext connection. Default: false. */
  readonly follows?: boolean | undefined;
  /** Called with warnings for the user. */
  readonly onWarning?: ((message: string) => void) | undefined;
}

/** The time in a reply to GET /info, with the times of the request and of the reply by the monotonic clock. */
export interface TimeReply {
  readonly url: string;
  /** Whether the reply could have been modified on the way. */
  readonly isCleartext: boolean;
  readonly timeMs: number;
  readonly sentMs: number;
  readonly receivedMs: number;
}

/** The server's time, as this client keeps it. */
export class BusClock {
  readonly #own: OwnClock;
  /** Both clocks at the moment when the offset was set. */
  #start: { readonly busMs: number; readonly steadyMs: number; readonly offsetMs: number } | null = null;
  #isMoved = false;
  /** Called when the server's clock contradicts its own earlier time. Called once, until the clock is right again. */
  onMoved: (error: UnibusError) => void = () => undefined;

  constructor(private readonly options: BusClockOptions = {}) {
    this.#own = options.own ?? systemClock;
  }

  /** The server's time in milliseconds since 1970; this computer's until the first reply. */
  readonly now = (): number =>
    this.#start === null ? this.#own.wallMs() : this.#start.busMs + this.#own.steadyMs() - this.#start.steadyMs;

  /** This computer's time in milliseconds since 1970. */
  readonly wallMs = (): number => this.#own.wallMs();

  /** The monotonic clock, in milliseconds. */
  readonly steadyMs = (): number => this.#own.steadyMs();

  /** Whether this computer's clock agreed with the server's, so that it can judge whether a message is late. */
  get isSure(): boolean {
    return this.#start === null || Math.abs(this.#start.offsetMs) <= sureMs;
  }

  /**
   * Learns from the time of a reply: the first one sets the offset, later ones are compared with it. Returns whether
   * the clock was set.
   * Errors: clock_skew, which names both times, if the offset is out of bounds.
   */
  learn(reply: TimeReply): boolean {
    if (!Number.isFinite(reply.timeMs))
      throw new UnibusError("unavailable", `the reply of ${reply.url} contains no time (check the address)`);
    if (this.#start !== null) return this.#compare(reply);
    const offset = this.#offsetOf(reply);
    this.#check(reply, offset);
    // Over cleartext the offset is small here, but it is not authenticated: use this computer's own clock.
    this.#set(reply.isCleartext ? 0 : offset);
    return true;
  }

  #set(offset: number): void {
    this.#start = { busMs: this.#own.wallMs() + offset, steadyMs: this.#own.steadyMs(), offsetMs: offset };
  }

  /** The smallest offset that a reply allows. The server read its clock at some moment between request and reply. */
  #offsetOf({ timeMs, sentMs, receivedMs }: TimeReply): number {
    const wallMs = this.#own.wallMs();
    const least = timeMs - wallMs;
    const most = least + receivedMs - sentMs;
    return least > 0 ? least : Math.min(most, 0);
  }

  #check({ isCleartext, timeMs }: TimeReply, offset: number): void {
    if (Math.abs(offset) <= offsetMs.unnoticed) return;
    const isWithin = offset <= offsetMs.ahead && offset >= -offsetMs.behind;
    const isFollowed = !isCleartext && (isWithin || this.options.follows === true);
    const difference = `the server's clock is ${differenceText(offset)} this computer's`;
    if (isFollowed) {
      this.options.onWarning?.(`${difference}: using the server's clock for messages (set this computer's clock)`);
      return;
    }
    const both = `server ${timeText(timeMs)}, this computer ${timeText(this.#own.wallMs())}`;
    const hint = isCleartext
      ? "set this computer's clock; the server's is not trusted over plain http"
      : "set this computer's clock, or use the server's with --bus-clock, in a program busClock: true";
    throw new UnibusError("clock_skew", `${difference}: ${both} (${hint})`);
  }

  /** Compares a later reply with the expected time. Sets the clock again only if this computer was asleep. */
  #compare(reply: TimeReply): boolean {
    const { offsetMs: known } = this.#start ?? { offsetMs: 0 };
    const roundTripMs = reply.receivedMs - reply.sentMs;
    const isNear = (expectedMs: number): boolean => {
      const difference = reply.timeMs - expectedMs;
      return difference <= offsetMs.unnoticed && difference >= -offsetMs.unnoticed - roundTripMs;
    };
    const expectedMs = this.now();
    if (isNear(expectedMs)) {
      this.#isMoved = false;
      return false;
    }
    // The monotonic clock stops while a computer sleeps. Its wall clock went on like the server's.
    if (isNear(this.#own.wallMs() + known)) {
      this.#set(known);
      return true;
    }
    const moved = differenceText(reply.timeMs - expectedMs);
    const hint = "ask its operator to check the clock; the change is ignored";
    const error = new UnibusError(
      "clock_skew",
      `the server's clock jumped: it is now ${moved} its previous time (${hint})`,
    );
    if (!this.#isMoved) this.onMoved(error);
    this.#isMoved = true;
    return false;
  }
}

const timeText = (ms: number): string => {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? String(ms) : `${date.toISOString().slice(0, 19)}Z`;
};

/** A difference of clocks in words: `2 h 3 min ahead of`. */
function differenceText(ms: number): string {
  const seconds = Math.round(Math.abs(ms) / 1_000);
  const parts = [
    [Math.floor(seconds / 86_400), "d"],
    [Math.floor(seconds / 3_600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "min"],
    [seconds % 60, "s"],
  ] as const;
  const text = parts
    .filter(([count]) => count > 0)
    .slice(0, 2)
    .map(([count, unit]) => `${count} ${unit}`);
  return `${text.join(" ") || "0 s"} ${ms < 0 ? "behind" : "ahead of"}`;
}
