/** Makes the first connection of a bus to the data plane, and wires what arrives there to the parts of the client. */
import { dataUrls } from "#nats";
import type { Info } from "../wire/api.ts";
import { UnibusError } from "../wire/errors.ts";
import { type ConnectOptions, sendLimitsDefault } from "./connect-options.ts";
import { Publisher } from "./rooms/publisher.ts";
import { ConnectionManager, type ConnectionManagerOptions } from "./transport/connection-manager.ts";
import type { ControlPlane } from "./transport/control.ts";
import { copyKey } from "./transport/live-message.ts";
import type { Outage } from "./transport/outage.ts";

/** The connections to the data plane, and what sends over them. */
export interface DataPlane {
  readonly live: ConnectionManager;
  readonly publisher: Publisher;
}

type Passed = "readGrant" | "subjects" | "extras" | "onMessage" | "onNotice" | "onTrouble";

interface DataPlaneDeps extends Required<Pick<ConnectionManagerOptions, Passed>> {
  readonly options: ConnectOptions;
  readonly info: Info;
  readonly control: ControlPlane;
  readonly outage: Outage;
  /** Called when the connection broke, was restored, or may have lost messages. */
  readonly onLink: (is: "away" | "back" | "torn") => void;
  /** Reads the open rooms again: their notices were missed while there was no connection. */
  readonly readRooms: () => Promise<void>;
  /** Called whenever the connection was restored. */
  readonly onUp: () => void;
  /** Called with a subject that the server refused. */
  readonly onRefused: (subject: string, isPublish: boolean) => void;
  readonly signal: AbortSignal;
}

/** Connects. Errors: unavailable if no address answers; unauthenticated if the login is refused. */
export async function connectDataPlane(deps: DataPlaneDeps): Promise<DataPlane> {
  const { options, info, control, outage, onLink, signal } = deps;
  let publisher: Publisher | null = null;
  const servers = dataUrls(info);
  if (servers.length === 0) {
    throw new UnibusError("unavailable", "the server offers no data plane address with TLS (ask its operator)");
  }
  const { detour } = control;
  const { readGrant, subjects, extras, onMessage, onNotice, onTrouble } = deps;
  const live = await ConnectionManager.connect({
    ...{ identity: options.identity, tls: options.tls, servers, keyOf: copyKey },
    ...{ readGrant, subjects, extras, onMessage, onNotice, onTrouble },
    nameOf: detour === undefined ? undefined : (url) => detour.nameOf(url),
    findServers: async () => [...new Set((await control.infos(signal)).flatMap(dataUrls))],
    onLine: () => publisher?.resume(),
    onDown: () => {
      onLink("away");
      outage.down();
    },
    onUp: () => {
      onLink("back");
      outage.up();
      void deps.readRooms();
      deps.onUp();
    },
    onAttempt: (url, error) => outage.failed({ urls: url === null ? control.urls : [url], error }),
    onGap: () => onLink("torn"),
    // A denied subscription is handled by the code that asked for it.
    onRefusal: ({ operation, subject }) => {
      const isPublish = operation === "publish";
      if (isPublish) publisher?.refused(subject);
      deps.onRefused(subject, isPublish);
    },
  });
  // Rooms that were opened before the connection missed its notices.
  await deps.readRooms();
  publisher = new Publisher(live, options.sendLimits ?? sendLimitsDefault);
  return { live, publisher };
}
