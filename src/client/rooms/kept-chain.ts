/**
 * The chain that a room's messages go on with after a restart: for programs that are started for each message, as the
 * command line does. Only one run has it at a time; one that finds none begins its own. Nothing is written for each
 * message, so a run that is killed leaves none, and the next one begins another. Source: docs/protocol/history.md.
 */
import type { ClientState } from "../trust/state.ts";
import type { SenderChain } from "./sender-chain.ts";

/** The chain of one room in the client's state. */
export class KeptChain {
  #taking: Promise<void> | null = null;

  constructor(
    private readonly roomId: string,
    private readonly state: ClientState,
    private readonly chain: SenderChain,
    private readonly onTrouble: (error: unknown) => void,
  ) {}

  /** Takes the chain of the last run, before the first message. A failure is reported, and another chain begins. */
  begin(): Promise<void> {
    this.#taking ??= (this.state.takeNote?.(this.roomId, "chain") ?? Promise.resolve(null)).then(
      (kept) => this.chain.resume(kept),
      this.onTrouble,
    );
    return this.#taking;
  }

  /** Leaves the chain to the next run, unless a message is still in flight. A failure is reported. */
  async end(): Promise<void> {
    if (this.#taking === null || this.state.takeNote === undefined) return;
    await this.#taking;
    const { kept } = this.chain;
    if (kept !== null) await this.state.saveNote(this.roomId, "chain", kept).catch(this.onTrouble);
  }
}
