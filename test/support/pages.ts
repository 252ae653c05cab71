/** The pages in docs/ as a reader uses them: programs to save, commands to run. */
import { readFileSync } from "node:fs";
import { join } from "node:path";

const docs = join(import.meta.dir ?? ".", "..", "..", "docs");

/** A fenced block of a page. `kind`: the text after the fence. */
export interface Block {
  readonly kind: string;
  readonly text: string;
}

/** Returns the fenced blocks of a page, in order. */
export function blocksOf(page: string): Block[] {
  const text = readFileSync(join(docs, page), "utf8");
  return [...text.matchAll(/^```([^\n]*)\n(.*?)^```$/gms)].map(([, kind = "", inner = ""]) => ({ kind, text: inner }));
}

/** Returns the lines of a block that are not empty. */
export const linesIn = ({ text }: Block): string[] => text.split("\n").filter(Boolean);

/** Returns the anchors that a page's headings make. */
export const anchorsIn = (text: string): string[] =>
  [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading = ""]) =>
    heading
      .toLowerCase()
      .replace(/[^\w\- ]/g, "")
      .replaceAll(" ", "-"),
  );

/** Returns the file name for a program, with which its first line begins; undefined if the block is not a program. */
export function fileNameOf({ text }: Block): string | undefined {
  return /^(?:\/\/|#) (\w+\.(?:mjs|sh|py|go|java))\b/.exec(text)?.[1];
}

/** Returns the programs of a page, by file name. */
export function programsOf(page: string): Map<string, string> {
  return new Map(
    blocksOf(page).flatMap((block) => {
      const name = fileNameOf(block);
      return name === undefined ? [] : [[name, block.text]];
    }),
  );
}
