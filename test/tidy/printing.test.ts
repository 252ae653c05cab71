/** Commands print through print.ts only, which escapes text written by others. */
import { describe } from "bun:test";
import { codeIn, judge, lineAt, type Rule } from "./rules.ts";

/** The printing module, and the only other files that write: those that move the cursor. */
const writers = new Set(["src/cli/print.ts", "src/cli/progress.ts", "src/cli/terminal-footer.ts"]);
/** Files that write raw bytes: file contents, and output for programs. */
const byteWriters = new Set(
  ["print.ts", "peer/blob.ts", "peer/file.ts", "peer/request.ts"].map((one) => `src/cli/${one}`),
);

const writing = /process\.std(?:out|err)\.write|\bconsole\.|\bBun\.(?:stdout|stderr|write)\b|writeSync\(\s*[12]\b/g;
const bytes = /\bwriteBytes\b/g;

const places = (path: string, text: string, pattern: RegExp) =>
  [...text.matchAll(pattern)].map(({ index, 0: found }) => ({ path, index, found }));

const printing: Rule = {
  name: "every command prints through print.ts",
  because: "text written by others must not send escape sequences to a terminal, in any command",
  check: (tree) =>
    codeIn(tree, "src/cli/").flatMap((file) => {
      const texts = writers.has(file.path) ? [] : places(file.path, file.text, writing);
      const raw = byteWriters.has(file.path) ? [] : places(file.path, file.text, bytes);
      return [...texts, ...raw].map(({ path, index, found }) => `${path}:${lineAt(file, index)} ${found}`);
    }),
  bad: {
    "src/cli/a.ts": "process.stdout.write(name);",
    "src/cli/b.ts": "console.log(name);",
    "src/cli/c.ts": "await writeBytes(bytesOf(name));",
    "src/cli/d.ts": "await Bun.write(Bun.stdout, name);",
  },
  good: {
    "src/cli/print.ts": "process.stdout.write(safe);",
    "src/cli/peer/blob.ts": "await writeBytes(content);",
    "src/cli/a.ts": "printLine(name);",
    "src/plugins/a.ts": "console.error(1);",
  },
};

describe("printing", () => {
  judge(printing);
});
