/** The pages in docs/ as a reader uses them: programs to save, commands to run. */
import { readFileSync } from "node:fs";
import { join } from "node:path";

const docs = join(import.meta.dir ?? ".", "..", "..", "docs");

/** A fenced block of a page. `kind`: what follows the fence. */
export interface Block {
  readonly kind: string;
  readonly text: string;
}

/** The fenced blocks of a page, in their order. */
export function blocksOf(page: string): Block[] {
  const text = readFileSync(join(docs, page), "utf8");
  return [...text.matchAll(/^```([^\n]*)\n(.*?)^```$/gms)].map(([, kind = "", inner = ""]) => ({ kind, text: inner }));
}

/** The name under which a program is to be saved: its first line begins with it. Undefined for what is no program. */
export function fileNameOf({ text }: Block): string | undefined {
  return /^(?:\/\/|#) (\w+\.(?:mjs|sh|py|go|java))\b/.exec(text)?.[1];
}

/** The programs of a page, by the names under which they are to be saved. */
export function programsOf(page: string): Map<string, string> {
  return new Map(
    blocksOf(page).flatMap((block) => {
      const name = fileNameOf(block);
      return name === undefined ? [] : [[name, block.text]];
    }),
  );
}
