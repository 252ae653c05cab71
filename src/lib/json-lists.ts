/**
 * A streaming parser for a JSON object of lists of objects, such as `{"a": [{}, {}], "b": []}`. It yields the text of
 * each element as soon as it is complete, so a large document is parsed in small steps and is never in memory as a
 * whole. It only finds where elements begin and end; the caller's `JSON.parse` of each element decides whether it is
 * valid. The restore of a room uses it.
 */

/** One element of a list, as text. */
export interface JsonElement {
  /** The field name of its list. */
  readonly list: string;
  readonly text: string;
}

/** A malformed document. The message follows the name of the document. */
export class JsonListsError extends Error {}

type State =
  | "start"
  | "first name"
  | "name"
  | "in name"
  | "colon"
  | "list"
  | "first"
  | "next"
  | "in"
  | "after"
  | "lists"
  | "end";

const [quote, backslash, open, close, openList, closeList, comma, colon] = Array.from('"\\{}[],:', (one) =>
  one.charCodeAt(0),
);
const isSpace = (byte: number): boolean => byte === 32 || byte === 10 || byte === 13 || byte === 9;

/** The position inside an element: the bracket depth, and whether it is inside a string. */
interface Nesting {
  depth: number;
  inString: boolean;
  isEscaped: boolean;
}

/** The transitions of the states between elements, by byte. A byte without an entry is a syntax error. */
const steps: Readonly<Record<Exclude<State, "in" | "in name">, Readonly<Record<number, State>>>> = {
  start: { [open as number]: "first name" },
  "first name": { [quote as number]: "in name", [close as number]: "end" },
  name: { [quote as number]: "in name" },
  colon: { [colon as number]: "list" },
  list: { [openList as number]: "first" },
  first: { [open as number]: "in", [closeList as number]: "lists" },
  next: { [open as number]: "in" },
  after: { [comma as number]: "next", [closeList as number]: "lists" },
  lists: { [comma as number]: "name", [close as number]: "end" },
  end: {},
};

/** An incremental parser for one document. */
export class JsonLists {
  readonly #names: ReadonlySet<string>;
  readonly #elementBytesMax: number;
  readonly #seen = new Set<string>();
  readonly #decoder = new TextDecoder("utf-8", { fatal: true });
  #state: State = "start";
  #name = "";
  /** The bytes of the current element or name that came in earlier pieces. */
  #held: Uint8Array[] = [];
  #heldBytes = 0;
  readonly #nesting: Nesting = { depth: 0, inString: false, isEscaped: false };

  /** `names`: the allowed fields, each at most once. `elementBytesMax`: the longest element, in bytes. */
  constructor(names: readonly string[], elementBytesMax: number) {
    this.#names = new Set(names);
    this.#elementBytesMax = elementBytesMax;
  }

  /** Parses the next piece and yields the elements that end in it. Errors: JsonListsError. */
  *take(piece: Uint8Array): Generator<JsonElement> {
    let from = 0;
    for (let at = 0; at < piece.length; at++) {
      const byte = piece[at] as number;
      if (this.#state === "in") {
        if (!this.#endsElement(byte)) continue;
        const text = this.#text(piece.subarray(from, at + 1));
        this.#state = "after";
        yield { list: this.#name, text };
      } else if (this.#state === "in name") {
        if (byte !== quote) continue;
        this.#begin(this.#text(piece.subarray(from, at)));
      } else if (!isSpace(byte)) {
        const next: State | undefined = steps[this.#state][byte];
        if (next === undefined) throw new JsonListsError(`is not an object of arrays of objects`);
        this.#state = next;
        from = next === "in name" ? at + 1 : at;
        if (next === "in") this.#endsElement(byte);
      }
    }
    if (this.#state === "in" || this.#state === "in name") this.#hold(piece.subarray(from));
  }

  /** Marks the end of the document. Errors: JsonListsError if the document is incomplete. */
  end(): void {
    if (this.#state !== "end") throw new JsonListsError("ends early");
  }

  #begin(name: string): void {
    if (!this.#names.has(name)) throw new JsonListsError(`has an unknown field ${JSON.stringify(name.slice(0, 64))}`);
    if (this.#seen.has(name)) throw new JsonListsError(`has the field ${name} twice`);
    this.#seen.add(name);
    this.#name = name;
    this.#state = "colon";
  }

  #endsElement(byte: number): boolean {
    const nesting = this.#nesting;
    if (nesting.inString) {
      if (nesting.isEscaped) nesting.isEscaped = false;
      else if (byte === backslash) nesting.isEscaped = true;
      else if (byte === quote) nesting.inString = false;
      return false;
    }
    if (byte === quote) nesting.inString = true;
    else if (byte === open || byte === openList) nesting.depth += 1;
    else if (byte === close || byte === closeList) nesting.depth -= 1;
    return nesting.depth === 0;
  }

  #hold(bytes: Uint8Array): void {
    this.#heldBytes += bytes.length;
    if (this.#heldBytes > this.#elementBytesMax) {
      throw new JsonListsError(`has an element of more than ${this.#elementBytesMax} bytes`);
    }
    this.#held.push(bytes.slice());
  }

  #text(bytes: Uint8Array): string {
    if (this.#heldBytes === 0 && bytes.length <= this.#elementBytesMax) return this.#decode(bytes);
    this.#hold(bytes);
    const all = new Uint8Array(this.#heldBytes);
    let at = 0;
    for (const part of this.#held) {
      all.set(part, at);
      at += part.length;
    }
    this.#held = [];
    this.#heldBytes = 0;
    return this.#decode(all);
  }

  #decode(bytes: Uint8Array): string {
    try {
      return this.#decoder.decode(bytes);
    } catch {
      throw new JsonListsError("is not UTF-8");
    }
  }
}
