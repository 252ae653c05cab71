/**
 * What a person sees on a terminal: applies the bytes that a program wrote to a grid of characters. It knows what
 * `unibus` writes: line ends, cursor moves, erasing and colours. Anything else is in `unknown`, and ignored.
 */

/** A sequence that begins with ESC [, or a single character. */
const tokens = /\x1b\[([?0-9;]*)([A-Za-z])|\x1b|[\s\S]/gu;

/** A terminal that scrolls. */
export class Screen {
  /** All rows since the start, also those that scrolled away. A wide character takes a cell and an empty one. */
  readonly #rows: string[][] = [[]];
  #top = 0;
  #row = 0;
  #column = 0;
  #rest = "";
  /** The sequences and control characters that it does not know. */
  readonly unknown: string[] = [];

  constructor(
    private readonly columns: number,
    private readonly height: number,
  ) {}

  /** The rows since the start, as text, without trailing spaces. */
  get rows(): string[] {
    return this.#rows.map((row) =>
      row
        .map((cell) => cell ?? " ")
        .join("")
        .trimEnd(),
    );
  }

  /** The row of the cursor, counted from the start, and its column. */
  get cursor(): readonly [row: number, column: number] {
    return [this.#row, this.#column];
  }

  /** Applies output. */
  write(output: string): void {
    const text = this.#rest + output;
    const open = /\x1b(?:\[[?0-9;]*)?$/.exec(text);
    this.#rest = open === null ? "" : open[0];
    for (const [token, numbers = "", letter] of text.slice(0, text.length - this.#rest.length).matchAll(tokens)) {
      if (letter !== undefined) this.#control(numbers, letter);
      else this.#put(token);
    }
  }

  #control(numbers: string, letter: string): void {
    const count = Number(numbers || 1);
    if (letter === "A") this.#row = Math.max(this.#top, this.#row - count);
    else if (letter === "C") this.#column = Math.min(this.columns - 1, this.#column + count);
    else if (letter === "K") this.#line.length = Math.min(this.#line.length, this.#column);
    else if (letter === "J" && numbers === "") this.#eraseBelow();
    else if (letter === "J" && numbers === "2") this.#rows.length = this.#top + 1;
    else if (letter === "H" && numbers === "") [this.#row, this.#column] = [this.#top, 0];
    else if (letter !== "m" && letter !== "h" && letter !== "l") this.unknown.push(`ESC [ ${numbers}${letter}`);
  }

  get #line(): string[] {
    this.#rows[this.#row] ??= [];
    return this.#rows[this.#row] as string[];
  }

  #eraseBelow(): void {
    this.#line.length = Math.min(this.#line.length, this.#column);
    this.#rows.length = this.#row + 1;
  }

  #put(character: string): void {
    if (character === "\r") this.#column = 0;
    else if (character === "\n") this.#down();
    else if (character < " " || character === "\x7f") this.unknown.push(JSON.stringify(character));
    else this.#print(character);
  }

  #print(character: string): void {
    const width = Bun.stringWidth(character);
    if (width === 0) return;
    if (this.#column + width > this.columns) {
      this.#column = 0;
      this.#down();
    }
    const line = this.#line;
    while (line.length < this.#column) line.push(" ");
    line[this.#column] = character;
    if (width === 2) line[this.#column + 1] = "";
    this.#column += width;
  }

  #down(): void {
    this.#row += 1;
    this.#top = Math.max(this.#top, this.#row - this.height + 1);
    this.#rows[this.#row] ??= [];
  }
}
