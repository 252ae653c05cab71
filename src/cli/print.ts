/** Data that a command prints: a name and a text or a number for each line. */
export type Fields = Readonly<Record<string, string | number | boolean>>;

/** How a command prints. */
export interface PrintOptions {
  /** One JSON document instead of lines for people. */
  readonly json?: boolean | undefined;
}

/** Fields as lines, their values under each other. */
export function fieldLines(fields: Fields): string {
  const width = Math.max(0, ...Object.keys(fields).map((name) => name.length));
  return Object.entries(fields)
    .map(([name, value]) => `${name.padEnd(width)}  ${value}\n`)
    .join("");
}

/** Prints fields on stdout, as lines or as JSON. */
export function printFields(fields: Fields, options: PrintOptions = {}): void {
  process.stdout.write(options.json ? `${JSON.stringify(fields)}\n` : fieldLines(fields));
}

/** Prints one line of data on stdout. */
export function printLine(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Tells a person something beside the data, on stderr. */
export function printNote(note: string): void {
  process.stderr.write(`${note}\n`);
}
