/**
 * The bus's clock, by which a client dates messages and signs requests.
 *
 * The first `/info` of a process says by how much the bus's clock differs from this computer's. From then on the time
 * is counted by the monotonic clock, so that neither a change of this computer's clock nor a later word of the bus
 * moves it. A bus could keep a signature that is dated ahead for later, so the offset has bounds, and over a connection
 * that is not encrypted the bus's clock is never followed.
 */
import { UnibusError } from "../wire/errors.ts";

/** How far the bus's clock may differ from this computer's: unnoticed, ahead, and behind, in milliseconds. */
const offsetMs = { unnoticed: 30_000, ahead: 5 * 60_000, behind: 24 * 3_600_000 } as const;
/** A clock that differs from the bus's by more cannot tell whether a message is late, in milliseconds. */
const sureMs = 10 * 60_000;

/** This computer's clocks. Tests replace them. */
export interface OwnClock {
  /** Milliseconds since 1970. */
  readonly wallMs: () => number;
  /** Milliseconds since some moment: never set back. */
  readonly steadyMs: () => number;
}

const systemClock: OwnClock = { wallMs: () => Date.now(), steadyMs: () => performance.now() };

/** What a clock is made from. */
export interface BusClockOptions {
  readonly own?: OwnClock | undefined;
  /** Whether the bus's clock is followed however far it is off. Never over a cleartext connection. Default: false. */
  readonly follows?: boolean | undefined;
  /** Called with what the user should know. */
  readonly onWarning?: ((message: string) => void) | undefined;
}

/** A reply to GET /info: what it says, and when it was asked for and came, by the steady clock. */
export interface TimeReply {
  readonly url: string;
  /** Whether others could have changed it on the way. */
  readonly isCleartext: boolean;
  readonly timeMs: number;
  readonly sentMs: number;
  readonly receivedMs: number;
}

/** The bus's time, as this client keeps it. */
export class BusClock {
  readonly #own: OwnClock;
  /** What both clocks said when the offset was learned. */
  #start: { readonly busMs: number; readonly steadyMs: number; readonly offsetMs: number } | null = null;
  #isMoved = false;
  /** Called when the bus's clock has moved against its own earlier word: once, until it is back. */
  onMoved: (error: UnibusError) => void = () => undefined;

  constructor(private readonly options: BusClockOptions = {}) {
    this.#own = options.own ?? systemClock;
  }

  /** The bus's time in milliseconds since 1970; this computer's before the bus has said it. */
  readonly now = (): number =>
    this.#start === null ? this.#own.wallMs() : this.#start.busMs + this.#own.steadyMs() - this.#start.steadyMs;

  /** This computer's time in milliseconds since 1970. */
  readonly wallMs = (): number => this.#own.wallMs();

  /** The monotonic clock, in milliseconds. */
  readonly steadyMs = (): number => this.#own.steadyMs();

  /** Whether this computer's clock agreed with the bus's, so that it can tell whether a message is late. */
  get isSure(): boolean {
    return this.#start === null || Math.abs(this.#start.offsetMs) <= sureMs;
  }

  /**
   * Takes the time of a reply: the first one sets the offset, a later one is compared with it. Gives whether the clock
   * was set by it.
   * Errors: clock_skew, which names both times, for an offset beyond the bounds.
   */
  learn(reply: TimeReply): boolean {
    if (!Number.isFinite(reply.timeMs))
      throw new UnibusError("unavailable", `${reply.url} names no time (check the address)`);
    if (this.#start !== null) return this.#compare(reply);
    const offset = this.#offsetOf(reply);
    this.#check(reply, offset);
    // Within the bounds of a cleartext bus, this computer's own clock is as good.
    this.#set(reply.isCleartext ? 0 : offset);
    return true;
  }

  #set(offset: number): void {
    this.#start = { busMs: this.#own.wallMs() + offset, steadyMs: this.#own.steadyMs(), offsetMs: offset };
  }

  /** The smallest offset that a reply allows: the bus read its clock at some moment between request and reply. */
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
    const difference = `the bus's clock is ${differenceText(offset)} this computer's`;
    if (isFollowed) {
      this.options.onWarning?.(`${difference}: messages are dated by the bus's clock (set this computer's clock)`);
      return;
    }
    const both = `${timeText(timeMs)} there, ${timeText(this.#own.wallMs())} here`;
    const hint = isCleartext
      ? "set the clock; over http the bus's is never followed"
      : "set the clock; to follow the bus's: --bus-clock, in a program busClock";
    throw new UnibusError("clock_skew", `${difference}: ${both} (${hint})`);
  }

  /** Compares a later reply with what is known. Only a computer that slept sets the clock again. */
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
    // The monotonic clock stands still while a computer sleeps: then its own clock went on as the bus's did.
    if (isNear(this.#own.wallMs() + known)) {
      this.#set(known);
      return true;
    }
    const moved = differenceText(reply.timeMs - expectedMs);
    const hint = "its old time is kept; ask its operator";
    const error = new UnibusError("clock_skew", `the bus's clock is ${moved} where it was before (${hint})`);
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
