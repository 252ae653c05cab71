import type { Log } from "../../contracts/plugin.ts";
import type { Capacity } from "../../contracts/streams.ts";
import type { ApiReply, JetStream } from "../../nats/jetstream.ts";
import { pages } from "../../nats/pages.ts";
import { streamName } from "../../wire/names.ts";
import { discardOf } from "../../wire/room-stream.ts";
import { expectReply } from "./errors.ts";
import type { StreamInfo } from "./stream-info.ts";

interface StreamPage extends ApiReply {
  readonly total: number;
  readonly streams: readonly StreamInfo[] | null;
}

/** Reports whether a stream's byte limit has to be set or changed. */
function isDue({ config, state }: StreamInfo, { bytesMax, whenFull }: Capacity): boolean {
  const limit = Number(config.max_bytes);
  if (limit === -1) return state.bytes > bytesMax;
  return limit !== bytesMax || config.discard !== discardOf(whenFull);
}

/** The size of a small message, in bytes. A stream with less space than that counts as full. */
const smallBytes = 1_024;

/** Reports whether a stream refuses messages because it has reached the byte limit. */
function isFull({ state }: StreamInfo, { bytesMax, whenFull }: Capacity): boolean {
  return whenFull === "refuse" && state.bytes + smallBytes > bytesMax;
}

/**
 * Sets the byte limit on every room stream that has passed it. If a limit cannot be set, logs a warning and tries again
 * next time. Returns the names of the streams that refuse messages. Errors: unavailable.
 */
export async function enforceCapacity(js: JetStream, capacity: Capacity, log: Log): Promise<ReadonlySet<string>> {
  const full = new Set<string>();
  const account = expectReply(await js.call<ApiReply & { storage: number; reserved_storage?: number }>("INFO"));
  // While all rooms together are below the limit of one room, and no stream has a limit, none can be due.
  if (account.storage <= capacity.bytesMax && !account.reserved_storage) return full;
  const ask = async (offset: number) => expectReply(await js.call<StreamPage>("STREAM.LIST", { offset }));
  for await (const { streams } of pages(ask, (page) => page.streams?.length ?? 0)) {
    for (const info of streams ?? []) {
      const name = String(info.config.name);
      if (!name.startsWith(streamName(""))) continue;
      if (isFull(info, capacity)) full.add(name);
      if (!isDue(info, capacity)) continue;
      const limits = { max_bytes: capacity.bytesMax, discard: discardOf(capacity.whenFull) };
      const reply = await js.call<ApiReply>(`STREAM.UPDATE.${name}`, { ...info.config, ...limits });
      if (reply.error === undefined) log.info("a room is full", { stream: name, bytes: info.state.bytes });
      else log.warn("could not limit a full room", { stream: name, cause: reply.error });
    }
  }
  return full;
}
