import { Events, type NatsConnection, type Subscription } from "nats";
import type { Log } from "../../contracts/plugin.ts";
import { noticeSubject } from "../../wire/names.ts";
import type { Logins, Place } from "./logins.ts";

/** How often connected peers are looked at for changes that no notice told, in milliseconds. Source: spec 7. */
const lookEveryMs = 1_000;

/** What the cutter listens on. */
export interface CutterParts {
  readonly system: NatsConnection;
  readonly bus: NatsConnection;
  readonly logins: Logins;
  /** Whether a peer is an active user. */
  readonly isActive: (endpoint: string) => Promise<boolean>;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** Where an event of the system account happened. */
function placeOf(data: Uint8Array): Place | null {
  const event = JSON.parse(new TextDecoder().decode(data)) as { server?: { id?: string }; client?: { id?: number } };
  const [server, cid] = [event.server?.id, event.client?.id];
  return server === undefined || cid === undefined ? null : { server, cid };
}

/**
 * Watches connections come and go, and cuts those whose peer may do less: when a notice says so, when a login finishes
 * after its permissions shrank, and, for what a command on the host changed, by looking.
 */
export function startCutter({ system, bus, logins, isActive, log, signal }: CutterParts): Subscription[] {
  const onEvent = (act: (place: Place) => unknown) => (error: Error | null, message: { data: Uint8Array }) => {
    const place = error === null ? placeOf(message.data) : null;
    if (place !== null) act(place);
  };
  const subscriptions = [
    system.subscribe("$SYS.ACCOUNT.PEERS.CONNECT", { callback: onEvent((place) => logins.connected(place)) }),
    system.subscribe("$SYS.ACCOUNT.PEERS.DISCONNECT", { callback: onEvent((place) => logins.ended(place)) }),
    bus.subscribe(noticeSubject("*", "*"), {
      callback: (error, { subject }) => {
        if (error === null) void logins.recheck(subject.split(".")[2] ?? "");
      },
    }),
  ];
  void watchServer(system, logins);
  void look(logins, isActive, log, signal);
  return subscriptions;
}

async function watchServer(system: NatsConnection, logins: Logins): Promise<void> {
  for await (const { type } of system.status()) if (type === Events.Disconnect) logins.clear();
}

async function look(logins: Logins, isActive: CutterParts["isActive"], log: Log, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await new Promise((resolve) => setTimeout(resolve, lookEveryMs).unref());
    for (const endpoint of signal.aborted ? [] : logins.endpoints) {
      try {
        if (!(await isActive(endpoint))) await logins.recheck(endpoint);
      } catch (error) {
        log.warn("a connected peer could not be looked up", { cause: error });
        break;
      }
    }
  }
}
