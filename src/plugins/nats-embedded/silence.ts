import { readFileSync } from "node:fs";
import type { NatsConnection } from "nats";
import { inTime } from "../../contracts/deadline.ts";

/** How long nats-server may take to answer a ping, in milliseconds: less than a health check may. */
const pingTimeoutMs = 1_000;

/** Whether a process was stopped by a signal. False where the system does not say. */
function isStopped(pid: number): boolean {
  try {
    const state = readFileSync(`/proc/${pid}/stat`, "utf8").replace(/^.*\) /s, "")[0] ?? "";
    return "Tt".includes(state);
  } catch {
    return false;
  }
}

/** Why a nats-server that runs does not answer on a connection, and how to fix it; null if it answers. Safe to show. */
export async function silenceOf(pid: number | null, connection: NatsConnection): Promise<string | null> {
  const late = new Error("late");
  try {
    await inTime(connection.flush(), pingTimeoutMs, () => late);
    return null;
  } catch (error) {
    // A connection that is lost fails at once, and is reported as that.
    if (error !== late || pid === null) return null;
    if (isStopped(pid)) return `nats-server is stopped by a signal (kill -CONT ${pid})`;
    return `nats-server does not answer (wait, or kill -9 ${pid}: it is started again)`;
  }
}
