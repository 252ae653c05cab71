/**
 * The file of the denials, and its copy elsewhere. Lines are appended and flushed in groups: those that come while a
 * group is written are the next group. Several processes may append to one file (the server, and commands on the host),
 * each line with one write. The copy gets whatever the file has gained, whoever wrote it.
 */
import { type FileHandle, open, readFile } from "node:fs/promises";
import type { Health, Log } from "../../contracts/plugin.ts";

/** How often what could not be written is tried again, and the copy compared, in milliseconds. */
const retryMs = 1_000;
/** How many lines that could not be written are kept in memory. */
const unwrittenMax = 100_000;

interface Waiting {
  readonly line: string;
  readonly done: () => void;
}

const codeOf = (error: unknown): string => String((error as { code?: unknown } | null)?.code ?? error);

/** Appends to a file, whole lines; a last line that was torn off gets its end first. */
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

/** Denials on disk. */
export class DenialFile {
  readonly #file: string;
  readonly #copy: string | undefined;
  readonly #log: Log;
  #waiting: Waiting[] = [];
  #unwritten: string[] = [];
  #writing: Promise<void> | null = null;
  /** Why the last try of the file, and of its copy, failed. */
  #faults: { readonly file: string | null; readonly copy: string | null } = { file: null, copy: null };
  /** The size of the file when the copy had all of it, in bytes. */
  #copiedBytes = -1;

  constructor(options: { readonly file: string; readonly copy: string | undefined; readonly log: Log }) {
    this.#file = options.file;
    this.#copy = options.copy;
    this.#log = options.log;
  }

  /** Appends a line. Resolves when it is on disk, or could not be written at the first try. */
  add(line: string): Promise<void> {
    return new Promise((done) => {
      this.#waiting.push({ line, done });
      void this.#write();
    });
  }

  /** Writes what waits, and brings the copy up to date, also with what another process has appended by now. */
  async settle(): Promise<void> {
    await this.#writing;
    await this.#write();
  }

  /** Writes group after group until nothing waits. */
  #write(): Promise<void> {
    const work = async (): Promise<void> => {
      do await this.#run();
      while (this.#waiting.length > 0);
      // In the same turn as the check: a line that comes after it begins a new round.
      this.#writing = null;
    };
    this.#writing ??= work();
    return this.#writing;
  }

  /** Tries again and compares the copy, every second until `signal` aborts. */
  keep(signal: AbortSignal): void {
    const timer = setInterval(() => void this.settle(), retryMs);
    signal.addEventListener("abort", () => clearInterval(timer), { once: true });
    void this.settle();
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
    // While the file itself cannot be used, there is nothing to copy.
    const isCopied = this.#copy !== undefined && file === null;
    const copy = !isCopied ? this.#faults.copy : await this.#try(this.#copy ?? "", () => this.#bringCopy());
    this.#faults = { file, copy };
  }

  /** Why some work on a file failed, or null. It is logged when it begins to fail, and when it works again. */
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

  /** Appends to the copy the lines of the file that it lacks, where the file has grown since. */
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
