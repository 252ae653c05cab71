/** What the suite runs on: a server, fresh users, and a way to break things. Uses only web APIs, so it is portable. */
import { type Bus, connect, type Identity, parseIdentity } from "unibus/client";

/** The environment of the suite, and what it can request. */
export interface Stage {
  /** The address of the server. */
  readonly url: string;
  /** Creates a new user. */
  user(handle: string): Promise<Identity>;
  /** Makes a user of an identity whose private keys stay where they are. */
  admit(handle: string, identity: Identity): Promise<void>;
  /** Kills nats-server; unibus restarts it. */
  killNats(): Promise<void>;
  /** An unused place for a client state: a folder, or a database name. */
  place(): string;
  /** Uncaught errors since the start. */
  uncaught(): readonly string[];
}

/** One case of the suite. */
export interface Case {
  readonly name: string;
  readonly run: (stage: Stage) => Promise<void>;
}

/** The part of a stage that differs between platforms. */
export type Platform = Pick<Stage, "place" | "uncaught">;

/** The stage whose props are served at an address. */
export async function stageAt(props: string, platform: Platform): Promise<Stage> {
  const ask = async (path: string): Promise<string> => {
    const reply = await fetch(`${props}${path}`, { method: "POST" });
    if (!reply.ok) throw new Error(`the stage answered ${reply.status}: ${await reply.text()}`);
    return reply.text();
  };
  return {
    ...platform,
    url: await ask("/stage/url"),
    user: async (handle) => parseIdentity(await ask(`/stage/user?handle=${handle}`)),
    admit: async (handle, { signPubHex, kexPubHex, kexSig }) => {
      const query = new URLSearchParams({ handle });
      for (const key of [signPubHex, kexPubHex, kexSig]) query.append("key", key);
      await ask(`/stage/keys?${query}`);
    },
    killNats: async () => void (await ask("/stage/kill-nats")),
  };
}

/** Connects an identity, with its own client state. */
export function busOf(stage: Stage, identity: Identity): Promise<Bus> {
  return connect({ url: stage.url, identity, state: "memory" });
}

/** Connects a new user. */
export async function newcomer(stage: Stage, handle: string): Promise<Bus> {
  return busOf(stage, await stage.user(handle));
}

let count = 0;

/** A subject that no other case uses, on any platform. */
export function freshSubject(namespace = "room"): string {
  count += 1;
  return `${namespace}.sdk-${crypto.randomUUID().slice(0, 13)}-${count}`;
}
