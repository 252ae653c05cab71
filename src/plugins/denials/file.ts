/**
 * The denials file and its copy. Lines are appended and synced in groups: lines that arrive during a write form the
 * next group. Several processes may append to the same file (the server, and commands on the host), each line with one
 * write. The copy receives every line that the file gains, from any process. A line that cannot be written stays in
 * memory and is retried. Used by index.ts.
 */
import { type FileHandle, open, readFile } from "node:fs/promises";
import type { Health, Log } from "../../contracts/plugin.ts";
import { every } from "../../lib/every.ts";

/** Interval for retrying failed writes and for comparing the copy, in milliseconds. */
const retryMs = 1_000;
/** How many unwritten lines are kept in memory. */
const unwrittenMax = 100_000;

interface Waiting {
  readonly line: string;
  readonly done: () => void;
}

const codeOf = (error: unknown): string => String((error as { code?: unknown } | null)?.code ?? error);

/** Appends whole lines to a file. A torn last line gets its line break first. */
async function append(file: string, text: string): Promise<void> {
  const handle = await open(file, "a+", 0o600);
  try {
    await handle.appendFile((await isTorn(handle)) ? `\n${text}` : text);
    await handle.datasync();
  } finally {
    await handle.close();
  }
}

async function isTorn(handle: FileHandle): Promise<boolean> {
  const { size } = await handle.stat();
  if (size === 0) return false;
  const { buffer } = await handle.read(Buffer.alloc(1), 0, 1, size - 1);
  return buffer[0] !== 10;
}

async function linesIn(file: string): Promise<string[]> {
  const text = await readFile(file, "utf8").catch((error: unknown) => {
    if (codeOf(error) === "ENOENT") return "";
    throw error;
  });
  return text.split("\n").filter(Boolean);
}

/** The denials on disk. */
export class DenialFile {
  readonly #file: string;
  readonly #copy: string | undefined;
  readonly #log: Log;
  #waiting: Waiting[] = [];
  #unwritten: string[] = [];
  #writing: Promise<void> | null = null;
  /** Why the last write of the file, and of its copy, failed. */
  #faults: { readonly file: string | null; readonly copy: string | null } = { file: null, copy: null };
  /** Size of the file when the copy was last complete, in bytes. */
  #copiedBytes = -1;

  constructor(options: { readonly file: string; readonly copy: string | undefined; readonly log: Log }) {
    this.#file = options.file;
    this.#copy = options.copy;
    this.#log = options.log;
  }

  /** Appends a line. Resolves when it is on disk, or when the first attempt to write it has failed. */
  add(line: string): Promise<void> {
    return new Promise((done) => {
      this.#waiting.push({ line, done });
      void this.#write();
    });
  }

  /** Writes pending lines and updates the copy, including lines that another process appended. */
  async settle(): Promise<void> {
    await this.#writing;
    await this.#write();
  }

  /** Writes groups until no line is pending. */
  #write(): Promise<void> {
    const work = async (): Promise<void> => {
      do await this.#run();
      while (this.#waiting.length > 0);
      // In the same turn as the check, so that a later line starts a new round.
      this.#writing = null;
    };
    this.#writing ??= work();
    return this.#writing;
  }

  /** Retries and compares the copy every second until `signal` aborts. */
  keep(signal: AbortSignal): void {
    // What fails is logged, and reported as the health.
    every(() => this.settle(), { pauseMs: retryMs, signal, onError: () => undefined });
  }

  health(): Health {
    const { file, copy } = this.#faults;
    const detail = file ?? copy;
    return detail === null ? { ok: true } : { ok: false, detail };
  }

  async #run(): Promise<void> {
    const group = this.#waiting;
    this.#waiting = [];
    const text = [...this.#unwritten, ...group.map(({ line }) => line)].join("");
    const file =
      text === "" && this.#faults.file === null ? null : await this.#try(this.#file, () => append(this.#file, text));
    this.#unwritten = file === null ? [] : [...this.#unwritten, ...group.map(({ line }) => line)].slice(-unwrittenMax);
    for (const { done } of group) done();
    // Without a readable file there is nothing to copy.
    const isCopied = this.#copy !== undefined && file === null;
    const copy = !isCopied ? this.#faults.copy : await this.#try(this.#copy ?? "", () => this.#bringCopy());
    this.#faults = { file, copy };
  }

  /** Runs work on a file and returns why it failed, or null. Logs when it begins to fail and when it works again. */
  async #try(file: string, work: () => Promise<void>): Promise<string | null> {
    const before = file === this.#file ? this.#faults.file : this.#faults.copy;
    try {
      await work();
      if (before !== null) this.#log.info(`${file} can be written again`);
      return null;
    } catch (error) {
      const fault = `cannot write ${file}: ${codeOf(error)} (check that the folder exists and has free space)`;
      if (before === null) this.#log.error(fault, { cause: error });
      return fault;
    }
  }

  /** Appends the missing lines to the copy if the file has grown. */
  async #bringCopy(): Promise<void> {
    const copy = this.#copy as string;
    const size = await open(this.#file, "r").then(
      async (handle) => {
        try {
          return (await handle.stat()).size;
        } finally {
          await handle.close();
        }
      },
      () => 0,
    );
    if (size === this.#copiedBytes) return;
    const known = new Set(await linesIn(copy));
    const missing = (await linesIn(this.#file)).filter((line) => !known.has(line));
    if (missing.length > 0 || this.#copiedBytes === -1) await append(copy, missing.map((line) => `${line}\n`).join(""));
    this.#copiedBytes = size;
  }
}
