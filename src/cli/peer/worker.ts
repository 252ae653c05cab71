import type { Bus, Room } from "../../client/index.ts";
import { pause } from "../../client/transport/wait.ts";
import { CliCommand } from "../cli-command.ts";
import { countArgument } from "../numbers.ts";
import { printJson, printLine, printNote } from "../print.ts";
import { openRoom, type RoomChoices, roomText, sendingCommand } from "./open-room.ts";
import { asPeer, type PeerOptions, peerCommand } from "./peer.ts";

/** The interval between two ticks, by default and at most, in milliseconds. */
const everyMs = { usual: 1_000, most: 86_400_000 } as const;
/** How many ticks may be unacked. Further ticks are skipped. */
const unackedMax = 64;
/** The maximum number of ticks. */
const countMax = 1_000_000_000;

interface WorkerOptions extends PeerOptions, RoomChoices {
  readonly every: number;
  readonly count?: number;
}

/** The counters of a worker. */
class Counters {
  sent = 0;
  acked = 0;
  failed = 0;
  received = 0;

  get unacked(): number {
    return this.sent - this.acked - this.failed;
  }
}

/** The telemetry that a worker sends. */
function tick(number: number, { sent, acked, failed, received }: Counters): string {
  const [uptime_ms, rss_bytes] = [Math.round(process.uptime() * 1_000), process.memoryUsage.rss()];
  return JSON.stringify({ tick: number, uptime_ms, rss_bytes, sent, acked, failed, received });
}

function printTick(number: number, { sent, acked, failed, received }: Counters, { json }: WorkerOptions) {
  if (json) return printJson({ tick: number, sent, acked, failed, received });
  return printLine(`tick ${number}  sent ${sent}  acked ${acked}  failed ${failed}  received ${received}`);
}

async function run(bus: Bus, room: Room, options: WorkerOptions, signal: AbortSignal): Promise<void> {
  const counters = new Counters();
  const ended = Promise.withResolvers<never>();
  const onEnd = (error: unknown) => ended.reject(error ?? signal.reason);
  const count = ({ from }: { readonly from: string }) => {
    if (from !== bus.identity.endpoint) counters.received += 1;
  };
  const stop = await room.onMessage(count, { onEnd, signal });
  ended.promise.catch(() => undefined);
  const flying = new Set<Promise<void>>();
  try {
    for (let number = 1; number <= (options.count ?? countMax); number++) {
      if (counters.unacked < unackedMax) {
        const data = tick(number, counters);
        counters.sent += 1;
        const flight: Promise<void> = room
          .send(data, { signal })
          .then(
            () => {
              counters.acked += 1;
            },
            (error: unknown) => {
              counters.failed += 1;
              if (!signal.aborted) printNote(`warning: ${String((error as Error).message)}`);
            },
          )
          .finally(() => flying.delete(flight));
        flying.add(flight);
      }
      const isLast = number === options.count;
      await Promise.race([isLast ? Promise.all(flying) : pause(options.every, signal), ended.promise]);
      await printTick(number, counters, options);
    }
  } finally {
    stop();
  }
}

/** The command `worker ROOM`, an example that sends heartbeat telemetry. */
export function workerCommand(): CliCommand {
  const command = new CliCommand("worker", {
    summary: "send a message regularly, and print how many were sent, acknowledged and received",
    example: "unibus worker proc.sensor.7 --every 500",
  });
  return sendingCommand(peerCommand(command))
    .argument("<room>", roomText)
    .option("--every <ms>", "time between two messages, in milliseconds", countArgument(1, everyMs.most), everyMs.usual)
    .option("--count <n>", "end after this many messages (default: when interrupted)", countArgument(1, countMax))
    .option("--json", "print one JSON object per line")
    .action((name: string, options: WorkerOptions) =>
      asPeer(options, async (bus, signal) => run(bus, await openRoom(bus, name, signal, options), options, signal), {
        follows: true,
      }),
    );
}
