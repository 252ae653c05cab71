/**
 * Watches the health of the plugins and of the host. Checks never overlap, and each change of state is logged once. The
 * states of a plugin: ok, or faulty with a cause; a cause that differs only in its numbers is the same.
 */

import type { ReadinessReport } from "../wire/api.ts";
import type { Log } from "./plugin.ts";

/** How often it looks by itself, in milliseconds. */
const lookEveryMs = 2_000;

const withoutNumbers = (text: string): string => text.replace(/[\d.,]+/g, "#");

/** Looks at the health again and again, and logs what changes. */
export class HealthWatch {
  readonly #look: () => Promise<ReadinessReport>;
  readonly #log: Log;
  readonly #faults = new Map<string, string>();
  #looking: Promise<ReadinessReport> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #wasReady = false;
  #isStopped = false;

  constructor(look: () => Promise<ReadinessReport>, log: Log) {
    this.#look = look;
    this.#log = log;
  }

  /** The health now. Callers at the same time share one look. */
  look(): Promise<ReadinessReport> {
    this.#looking ??= this.#look()
      .then((report) => this.#note(report))
      .finally(() => {
        this.#looking = undefined;
      });
    return this.#looking;
  }

  /** Looks every two seconds, until `stop`. */
  start(): void {
    const again = (): void => {
      if (this.#isStopped) return;
      this.#timer = setTimeout(() => void this.look().then(again, again), lookEveryMs);
      this.#timer.unref();
    };
    again();
  }

  /** Looks no more by itself, and logs nothing. */
  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }

  #note(report: ReadinessReport): ReadinessReport {
    this.#wasReady ||= report.ready;
    // What a start waits for is logged by the command that starts it.
    if (!this.#wasReady || this.#isStopped) return report;
    for (const [name, { ok, detail = "cannot work" }] of Object.entries(report.plugins)) {
      const cause = withoutNumbers(detail);
      if (ok || this.#faults.get(name) === cause) continue;
      this.#faults.set(name, cause);
      this.#log.error(`not ready: ${name}: ${detail}`);
    }
    for (const name of [...this.#faults.keys()]) {
      if (report.plugins[name]?.ok === false) continue;
      this.#faults.delete(name);
      this.#log.info(`works again: ${name}`);
    }
    return report;
  }
}
