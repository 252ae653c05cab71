/**
 * Keeps a copy of a room in the client's state, from which a server that was restored from an older backup can get it
 * back: every verified statement, the member lines of the newest one, and the room keys sealed to this peer. Nothing in
 * it is secret from the server, and missing parts are read again. Statements are stored in chunks, so that a new one
 * does not rewrite them all. `RoomTrust` and `RoomKeys` write it; `repair.ts` and `older-chain.ts` read it.
 * Source: docs/backup.md.
 */
import type { Static } from "@sinclair/typebox";
import { signatureHolds } from "#verify";
import { groupBy } from "../../lib/group-by.ts";
import { Mutex } from "../../lib/mutex.ts";
import type { Member } from "../../wire/api.ts";
import { type ChainLink, firstFault, stepFault } from "../../wire/chain.ts";
import { fromBase64, sha256Hex } from "../../wire/encoding.ts";
import { endpointId } from "../../wire/names.ts";
import { parseStatement } from "../../wire/statement.ts";
import type { GivenStatement } from "./chain.ts";
import { type ClientState, roomForked } from "./state.ts";
import { isOneLine, type VerifiedMember } from "./verified-room.ts";

/** Number of statements in one chunk. */
const chunkSize = 64;

const chunkOf = (version: number): number => Math.floor((version - 1) / chunkSize);

/** The newest version in the copy, and its member lines. */
export interface KeptVersion {
  readonly version: number;
  readonly subject: string;
  /** Statements are stored without a gap from version 1 to this one. */
  readonly complete: number;
  readonly members: readonly VerifiedMember[];
}

function versionOf(note: unknown): KeptVersion | null {
  const { version, subject, complete, members } = (note ?? {}) as Record<keyof KeptVersion, unknown>;
  const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0;
  if (!isCount(version) || !isCount(complete) || typeof subject !== "string" || !Array.isArray(members)) return null;
  const fits = (members as Static<typeof Member>[]).every((one) => one !== null && isOneLine(one));
  return fits ? { version, subject, complete, members: members as VerifiedMember[] } : null;
}

function statementsOf(note: unknown): GivenStatement[] {
  const { statements } = (note ?? {}) as { statements?: unknown };
  if (!Array.isArray(statements)) return [];
  return (statements as Partial<GivenStatement>[]).filter((one): one is GivenStatement => {
    const texts = [one?.text, one?.by, one?.sig].every((part) => typeof part === "string");
    return texts && Number.isSafeInteger(one.version);
  });
}

function keysOf(note: unknown): Map<number, string> {
  const { keys } = (note ?? {}) as { keys?: unknown };
  if (typeof keys !== "object" || keys === null) return new Map();
  const entries = Object.entries(keys).map(([epoch, sealed]) => [Number(epoch), sealed] as const);
  return new Map(entries.filter(([epoch, sealed]) => Number.isSafeInteger(epoch) && typeof sealed === "string"));
}

/** The copy of one room. Errors: those of the client's state. */
export class KeptRoom {
  #version: Promise<KeptVersion | null> | null = null;
  readonly #writing = new Mutex();

  constructor(
    readonly roomId: string,
    private readonly state: ClientState,
  ) {}

  /** The newest version; null if none is stored. Corrupt data counts as missing, because it can be read again. */
  version(): Promise<KeptVersion | null> {
    this.#version ??= this.state.note(this.roomId, "members").then(versionOf);
    return this.#version;
  }

  /** All stored statements, by version. */
  async statements(): Promise<Map<number, GivenStatement>> {
    const kept = await this.version();
    return this.#upTo(Math.max(kept?.version ?? 0, kept?.complete ?? 0));
  }

  /** Whether a user signed one of the stored statements. */
  async hasSigned(endpoint: string): Promise<boolean> {
    for (const { by } of (await this.statements()).values()) if (endpointId(by) === endpoint) return true;
    return false;
  }

  async #upTo(newest: number): Promise<Map<number, GivenStatement>> {
    const found = new Map<number, GivenStatement>();
    for (let chunk = 0; newest > 0 && chunk <= chunkOf(newest); chunk++) {
      for (const one of statementsOf(await this.state.note(this.roomId, `statements-${chunk}`))) {
        found.set(one.version, one);
      }
    }
    return found;
  }

  /** The room keys sealed to this peer, by epoch. */
  async keys(): Promise<Map<number, string>> {
    return keysOf(await this.state.note(this.roomId, "keys"));
  }

  /** Stores verified statements, in ascending order without a gap. */
  addStatements(statements: readonly GivenStatement[]): Promise<void> {
    return this.#inTurn(async () => {
      const [first, last] = [statements[0], statements.at(-1)];
      if (first === undefined || last === undefined) return;
      for (const [chunk, some] of groupBy(statements, ({ version }) => chunkOf(version))) {
        const before = statementsOf(await this.state.note(this.roomId, `statements-${chunk}`));
        const merged = new Map([...before, ...some].map((one) => [one.version, one]));
        const sorted = [...merged.values()].sort((a, b) => a.version - b.version);
        await this.state.saveNote(this.roomId, `statements-${chunk}`, { statements: sorted });
      }
      // Reload: another process may have stored more by now.
      this.#version = null;
      const known = (await this.version()) ?? { version: 0, subject: "", complete: 0, members: [] };
      if (first.version > known.complete + 1 || last.version <= known.complete) return;
      let complete = last.version;
      // These statements may have closed a gap, so count on through the ones after them.
      if (known.version > complete) {
        const all = await this.#upTo(known.version);
        while (all.has(complete + 1)) complete += 1;
      }
      await this.#save({ ...known, complete });
    });
  }

  /** Stores the member lines of a version, including members marked as having left. */
  setMembers({ version, subject, members }: Omit<KeptVersion, "complete">): Promise<void> {
    return this.#inTurn(async () => {
      const known = await this.version();
      if (known !== null && known.version > version) return;
      const isSame = known?.version === version && JSON.stringify(known.members) === JSON.stringify(members);
      if (!isSame) await this.#save({ version, subject, complete: known?.complete ?? 0, members });
    });
  }

  /** Stores the key of an epoch, as sealed to this peer. */
  addKey(epoch: number, sealed: string): Promise<void> {
    return this.#inTurn(async () => {
      const keys = await this.keys();
      if (keys.get(epoch) === sealed) return;
      keys.set(epoch, sealed);
      await this.state.saveNote(this.roomId, "keys", { keys: Object.fromEntries(keys) });
    });
  }

  /** Deletes everything after a version and its epoch, because the room continues differently from there. */
  cut(version: number, epoch: number): Promise<void> {
    return this.#inTurn(async () => {
      const kept = [...(await this.statements()).values()].filter((one) => one.version <= version);
      const newest = (await this.version())?.version ?? 0;
      for (let chunk = chunkOf(Math.max(1, version)); chunk <= chunkOf(Math.max(1, newest)); chunk++) {
        const statements = kept.filter((one) => chunkOf(one.version) === chunk);
        await this.state.saveNote(this.roomId, `statements-${chunk}`, { statements });
      }
      const keys = [...(await this.keys())].filter(([one]) => one <= epoch);
      await this.state.saveNote(this.roomId, "keys", { keys: Object.fromEntries(keys) });
      const known = await this.version();
      if (known !== null)
        await this.#save({ ...known, version: 0, complete: Math.min(known.complete, version), members: [] });
    });
  }

  async #save(version: KeptVersion): Promise<void> {
    await this.state.saveNote(this.roomId, "members", version);
    this.#version = Promise.resolve(version);
  }

  /** Serializes writes, so that none overwrites another. */
  #inTurn(work: () => Promise<void>): Promise<void> {
    return this.#writing.hold(work);
  }
}

/**
 * Verifies statements that follow a stored one, or that start a room, up to one that this client verified before.
 * Errors: room_forked for a statement that does not follow, or a chain that does not lead to the known one.
 */
export async function verifyPast(
  roomId: string,
  before: GivenStatement | null,
  given: readonly GivenStatement[],
  known: { readonly version: number; readonly hash: string },
): Promise<void> {
  let link: ChainLink | null = before === null ? null : linkOf(roomId, before);
  for (const one of given) {
    const next = linkOf(roomId, one);
    const fault = link === null ? firstFault(next.parsed) : stepFault(link, next.parsed);
    if (fault !== null) throw roomForked(roomId, `statement ${one.version} ${fault.what}`);
    const sig = fromBase64(one.sig);
    const signers = link?.parsed.owners ?? next.parsed.owners;
    if (!signers.includes(one.by) || sig === null || !(await signatureHolds(one.by, one.text, sig))) {
      throw roomForked(roomId, `statement ${one.version} is not signed by an owner`);
    }
    link = next;
  }
  if (link?.parsed.version !== known.version || link.hash !== known.hash) {
    throw roomForked(roomId, `the statements do not lead to version ${known.version} as this client has seen it`);
  }
}

/** Parses and hashes a statement. Errors: room_forked if it is not a statement of the room. */
export function linkOf(roomId: string, { version, text }: GivenStatement): ChainLink {
  const parsed = parseStatement(text);
  if ("fault" in parsed) throw roomForked(roomId, parsed.fault);
  if (parsed.roomId !== roomId || parsed.version !== version) {
    throw roomForked(roomId, `statement ${version} is of another room or version`);
  }
  return { hash: sha256Hex(text), parsed };
}
