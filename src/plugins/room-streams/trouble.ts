import type { Health } from "../../contracts/plugin.ts";
import { type JetStream, jsCode } from "../../nats/jetstream.ts";
import { hasCode, isUnibusError } from "../../wire/errors.ts";
import { streamName } from "../../wire/names.ts";
import { expectReply, refuseLeaderless } from "./errors.ts";
import type { StreamInfo } from "./stream-info.ts";
import type { StreamMaker } from "./stream-maker.ts";

/** How many streams are remembered, and how many of them one look asks for. */
const streamsMax = 100;
const looksAtOnce = 4;
/** How long a stream may take to answer a look, in milliseconds: less than a health check may. */
const lookTimeoutMs = 1_500;

/** Streams that could not be used at the last try. Each is asked for again until it answers, or is gone. */
export class StreamTrouble {
  readonly #js: JetStream;
  readonly #maker: Pick<StreamMaker, "isClustered">;
  readonly #troubled = new Set<string>();

  constructor(js: JetStream, maker: Pick<StreamMaker, "isClustered">) {
    this.#js = js;
    this.#maker = maker;
  }

  /** Does some work on a room's stream, and remembers whether the stream could be used. Errors: those of `work`. */
  async watch<T>(roomId: string, work: () => Promise<T>): Promise<T> {
    const name = streamName(roomId);
    try {
      const result = await work();
      this.#troubled.delete(name);
      return result;
    } catch (error) {
      if (hasCode(error, "unavailable") && this.#troubled.size < streamsMax) this.#troubled.add(name);
      throw error;
    }
  }

  /** Not ready as long as one of the streams does not answer, or has no leader. Errors: unavailable. */
  async health(): Promise<Health> {
    const isClustered = this.#troubled.size > 0 && (await this.#maker.isClustered());
    const looks = [...this.#troubled].slice(0, looksAtOnce).map((name) => this.#look(name, isClustered));
    const fault = (await Promise.all(looks)).find((one) => one !== null);
    return fault === undefined ? { ok: true } : { ok: false, detail: fault };
  }

  async #look(name: string, isClustered: boolean): Promise<string | null> {
    try {
      const asked = this.#js.call<StreamInfo>(`STREAM.INFO.${name}`, "", lookTimeoutMs);
      const info = expectReply(await asked, jsCode.streamNotFound);
      if (info.error === undefined && isClustered) refuseLeaderless(info);
      this.#troubled.delete(name);
      return null;
    } catch (error) {
      if (!isUnibusError(error)) throw error;
      return isClustered
        ? `stream ${name} has no leader (start the nodes that are missing; it heals by itself)`
        : `stream ${name} does not answer (see the log of nats-embedded)`;
    }
  }
}
