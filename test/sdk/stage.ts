/** What the suite plays on: a bus, fresh users, and a hand that breaks things. Plain web API: it runs everywhere. */
import { type Bus, connect, type Identity, parseIdentity } from "unibus/client";

/** Where the suite runs, and what it may ask for. */
export interface Stage {
  /** The address of the bus. */
  readonly url: string;
  /** A new user of the bus. */
  user(handle: string): Promise<Identity>;
  /** Ends the bus's nats-server by force; the bus brings it back. */
  killNats(): Promise<void>;
  /** A place for a state that nobody has used: a folder, or a database's name. */
  place(): string;
  /** What went wrong and nobody caught, since the beginning. */
  uncaught(): readonly string[];
}

/** One case of the suite. */
export interface Case {
  readonly name: string;
  readonly run: (stage: Stage) => Promise<void>;
}

/** What a stage differs in from one platform to the next. */
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
    killNats: async () => void (await ask("/stage/kill-nats")),
  };
}

/** Connects an identity, with a memory of its own. */
export function busOf(stage: Stage, identity: Identity): Promise<Bus> {
  return connect({ url: stage.url, identity, state: "memory" });
}

/** Connects a new user. */
export async function newcomer(stage: Stage, handle: string): Promise<Bus> {
  return busOf(stage, await stage.user(handle));
}

let count = 0;

/** A subject that no other case uses, on whatever platform. */
export function freshSubject(namespace = "room"): string {
  count += 1;
  return `${namespace}.sdk-${crypto.randomUUID().slice(0, 13)}-${count}`;
}
