/** A forged copy of a room: a chain that another user signed, under the real room's id and subject. */
import type { Static } from "@sinclair/typebox";
import type { Identity } from "../../src/client/crypto/identity.ts";
import type * as api from "../../src/wire/api.ts";
import { nextState, type RoomState } from "../../src/wire/statement.ts";
import { type HostileServer, withJson } from "./hostile-server.ts";
import { sealNow } from "./keys-now.ts";
import { newRoom, statementOf } from "./peer.ts";
import { keysOf } from "./trusting-peer.ts";

/** The room to copy, the forger, and the victim whom the copy names. */
export interface ForgedRoom {
  readonly roomId: string;
  readonly subject: string;
  readonly forger: Identity;
  /** The handle that the bus shows for the forger. */
  readonly handle: string;
  readonly victim: Identity;
}

/** Makes a server show a forged copy of a room, complete and validly signed, to every client from now on. */
export function showForgedRoom(way: HostileServer, { roomId, subject, forger, handle, victim }: ForgedRoom): void {
  const policy = { encrypt: true, persist: true, sign_msgs: true };
  const first = newRoom(forger, subject, policy, roomId);
  const { endpoint, sign_pub, kex_pub } = keysOf(victim);
  const state: RoomState = nextState(first.state, { kind: "add", members: [{ endpoint, sign_pub, kex_pub }] });
  const statements = [first.state, state].map((one) => ({ version: one.version, ...statementOf(one, forger) }));
  const handles = new Map([
    [forger.endpoint, handle],
    [victim.endpoint, "victim"],
  ]);
  const members: Static<typeof api.Member>[] = state.lines.map((line) => {
    const keys = keysOf(line.endpoint === forger.endpoint ? forger : victim);
    return { ...line, kex_sig: keys.kex_sig, left: false, handle: handles.get(line.endpoint) ?? "" };
  });
  const parts: Readonly<Record<string, (view: object, query: URLSearchParams) => object>> = {
    "": (view) => ({ ...view, subject, policy, epoch: 1, version: 2, rekey_pending: false }),
    "/members": () => ({ version: 2, members }),
    "/statements": (_, query) => {
      const from = Number(query.get("from"));
      return { statements: statements.filter(({ version }) => version >= from), more: false };
    },
    "/key": () => ({ epoch: 1, sealed_key: sealNow(first.key ?? new Uint8Array(), victim.kexPub) }),
  };
  way.rewrite((answer, { method, target }) => {
    const [path = "", query] = target.split("?");
    const part = path.startsWith(`/rooms/${roomId}`) ? parts[path.slice(`/rooms/${roomId}`.length)] : undefined;
    if (method !== "GET" || part === undefined) return answer;
    const view = answer.status === 200 ? (JSON.parse(answer.body.toString()) as object) : {};
    return withJson({ ...answer, status: 200 }, part(view, new URLSearchParams(query)));
  });
}
