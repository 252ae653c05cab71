/** A bus whose store, streams and JetStream fail according to a plan, and a table of the outcomes. */
import type { NatsConnection } from "nats";
import { Nats } from "../../src/contracts/nats.ts";
import { RoomStore, UserStore } from "../../src/contracts/store.ts";
import { RoomStreams } from "../../src/contracts/streams.ts";
import { UnibusError } from "../../src/wire/errors.ts";
import { until } from "./executable.ts";
import { type FaultMoment, FaultPlan } from "./faulty.ts";
import { bootInProcess, type InProcess } from "./in-process.ts";
import type { Reply } from "./peer.ts";

/** More calls than any request makes: exceeding it means an endless loop. */
const callsMax = 60;
/** How often a run is repeated in which background work, such as a sweep, called a port as well. */
const repeatsMax = 5;
/** Text that may appear in a log but not in a reply. */
const inside = "SELECT secret FROM inside at /inside.ts:1:1";

const unavailable = () =>
  new UnibusError("unavailable", "it does not answer (try again)", { cause: new Error(inside) });

/** One request, and what must hold after it failed. */
export interface Scenario {
  readonly act: () => Promise<Reply>;
  readonly success: number;
  /** Runs after a fault: retries, and throws if any user sees a partial change. */
  readonly afterwards: (reply: Reply) => Promise<void>;
}

/** Never fails: whether it is called depends on timing, since the rule above the store caches its answer for 2 s. */
const sumOfRows = "rowBytesOf";

/** The ports whose calls can fail. */
export type Layer = "store" | "streams" | "jetstream";

/** A bus in which one call at a time fails. */
export class FaultyBus implements AsyncDisposable {
  readonly #plans: Readonly<Record<Layer, FaultPlan>>;
  readonly running: InProcess;
  /** One line for each injected fault. */
  readonly table: string[] = [];
  /** The calls of each scenario when none fails, by its name and layer. */
  readonly #undisturbed = new Map<string, readonly string[]>();

  private constructor(running: InProcess, plans: Readonly<Record<Layer, FaultPlan>>) {
    this.running = running;
    this.#plans = plans;
  }

  /** Boots a bus. No call fails at first. */
  static async start(): Promise<FaultyBus> {
    const plans = {
      store: new FaultPlan(unavailable),
      streams: new FaultPlan(unavailable),
      jetstream: new FaultPlan(() => new Error(inside)),
    };
    const busConnection = (service: object): object => {
      const nats = service as Nats;
      let made: NatsConnection | undefined;
      const connection: Nats["connection"] = async (account) => {
        if (account !== "BUS") return nats.connection(account);
        made ??= plans.jetstream.wrap(await nats.connection(account), ["request", "publish"], ["publish"]);
        return made;
      };
      return { ...nats, connection };
    };
    const running = await bootInProcess({
      between: {
        [RoomStore.id]: (store) =>
          plans.store.wrap(
            store,
            Object.keys(store).filter((name) => name !== sumOfRows),
          ),
        [UserStore.id]: (store) => plans.store.wrap(store),
        [RoomStreams.id]: (streams) => plans.streams.wrap(streams, ["ensure", "last", "remove", "bind"]),
        [Nats.id]: busConnection,
      },
    });
    return new FaultyBus(running, plans);
  }

  /**
   * Runs a scenario with the first call failing, then the second, until no call fails. Returns the calls that failed.
   */
  async play(name: string, layer: Layer, moment: FaultMoment, prepare: () => Promise<Scenario>): Promise<string[]> {
    const undisturbed = this.#undisturbed.get(`${name} ${layer}`) ?? (await this.#callsOf(layer, prepare));
    this.#undisturbed.set(`${name} ${layer}`, undisturbed);
    const failed: string[] = [];
    let repeats = 0;
    for (let nth = 1; nth <= callsMax; nth++) {
      const { reply, plan, success, afterwards } = await this.#run(layer, nth, moment, prepare);
      if (plan.failed === null) {
        if (reply.status !== success) throw new Error(`without a fault ${name} answers ${reply.status} ${reply.text}`);
        return failed;
      }
      const what = `${name}, ${layer}, call ${nth} (${plan.failed}) fails ${moment} it is made: ${reply.status}`;
      if (![503, success].includes(reply.status)) throw new Error(`${what} ${reply.text}`);
      if (reply.status === 503 && reply.json.code !== "unavailable") throw new Error(`${what} ${reply.text}`);
      if (reply.text.includes("inside")) throw new Error(`${what} shows the inside: ${reply.text}`);
      try {
        await afterwards(reply);
      } catch (error) {
        throw new Error(`${what}, and then: ${(error as Error).message}`, { cause: error });
      }
      // A call beyond those of the request is one of background work: it failed in place of none.
      const isOwn = nth <= undisturbed.length;
      const isDisturbed = isOwn && plan.calls.slice(0, nth).join() !== undisturbed.slice(0, nth).join();
      if (isDisturbed && repeats++ < repeatsMax) {
        nth -= 1;
        continue;
      }
      repeats = 0;
      failed.push(plan.failed);
      this.table.push(`${what}, whole, and asking again completes`);
    }
    throw new Error(`more than ${callsMax} calls`);
  }

  /** Returns the calls that a scenario makes when none fails: those of two runs that made the same. */
  async #callsOf(layer: Layer, prepare: () => Promise<Scenario>): Promise<readonly string[]> {
    let last: readonly string[] = [];
    for (let runs = 0; runs <= repeatsMax; runs++) {
      const { plan } = await this.#run(layer, 0, "before", prepare);
      if (runs > 0 && plan.calls.join() === last.join()) break;
      last = plan.calls;
    }
    return last;
  }

  async #run(layer: Layer, nth: number, moment: FaultMoment, prepare: () => Promise<Scenario>) {
    const plan = this.#plans[layer];
    const scenario = await prepare();
    const plans = Object.values(this.#plans);
    await until("no request is in progress", () => plans.every(({ underWay }) => underWay === 0));
    plan.arm(nth, moment);
    const reply = await scenario.act();
    const { failed, calls } = plan;
    plan.rest();
    return { ...scenario, reply, plan: { failed, calls: [...calls] } };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.running[Symbol.asyncDispose]();
  }
}
