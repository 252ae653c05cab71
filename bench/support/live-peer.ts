import { createHash } from "node:crypto";
import type { Identity } from "../../src/client/crypto/identity.ts";
import { ConnectionManager } from "../../src/client/transport/connection-manager.ts";
import type { LiveMessage } from "../../src/client/transport/live-message.ts";
import type { Server } from "../../test/support/executable.ts";
import { call } from "../../test/support/peer.ts";

/** Settings that turn off the login quota that would throttle a benchmark. */
export const unlimitedLogins: readonly string[] = ["--set", "auth-callout.logins_per_second=1000000"];

/** Opens a connection that follows the peer's room memberships. */
export function livePeer(
  server: Server,
  identity: Identity,
  onMessage: (message: LiveMessage) => void,
): Promise<ConnectionManager> {
  let subjects: string[] = [];
  return ConnectionManager.connect({
    identity,
    servers: [server.ready.nats],
    readGrant: async () => {
      const reply = await call(server.ready.http, identity, "GET", `/members/${identity.endpoint}/rooms`);
      const rooms = (reply.json as unknown as { subject: string; live: boolean }[]).filter(({ live }) => live);
      subjects = rooms.map(({ subject }) => subject);
      return subjects.join();
    },
    subjects: () => subjects,
    onMessage,
    keyOf: ({ data }) => createHash("sha256").update(data).digest("base64"),
  });
}
