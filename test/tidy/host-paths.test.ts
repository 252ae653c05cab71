/** No file depends on one machine: no paths of a developer, fixed temporary files, or default ports in tests. */
import { describe } from "bun:test";
import { judge, type Rule, type SourceFile, type Tree } from "./rules.ts";

const self = "test/tidy/host-paths.test.ts";

function matches(tree: Tree, isMeant: (file: SourceFile) => boolean, pattern: RegExp): string[] {
  return [...tree.values()]
    .filter((file) => file.path !== self && isMeant(file))
    .flatMap((file) =>
      file.lines.flatMap((line, i) => {
        const found = pattern.exec(line);
        return found === null ? [] : [`${file.path}:${i + 1} ${found[0].trim()}`];
      }),
    );
}

/** Common folders for checkouts of people and machines, with the path below them. */
const hostPath =
  /(?<![\w.:~$})/-])\/(home|Users|root|work|workspaces?|builds|private\/var)\/[\w.-]+|\b[A-Z]:\\+Users\\/;

const noHostPaths: Rule = {
  name: "no file contains a path on a developer's machine",
  because: "it exists on no other machine, and reveals the developer",
  check: (tree) => matches(tree, () => true, hostPath),
  bad: { "docs/a.md": "run /home/alice/unibus", "src/a.ts": 'const a = "/root/.config";' },
  good: { "docs/a.md": "https://example.com/home/alice and $HOME/home/x, ~/work/x, /var/lib/unibus" },
};

const isCode = (file: SourceFile) => /^(src|test|bench|scripts|examples)\//.test(file.path);

const noTempPaths: Rule = {
  name: "no code names a temporary file by a fixed path",
  because: "two runs at once would share it, and another user could create it first; the system creates unique ones",
  check: (tree) => matches(tree, isCode, /(?<![\w.$}-])\/(var\/)?tmp\/[\w.-]+/),
  bad: { "test/a.test.ts": 'const file = "/tmp/unibus-test";' },
  good: { "docs/a.md": "unibus serve --data /tmp/try", "src/a.ts": "mkdtemp(join(tmpdir(), 'x'));" },
};

const isTest = (file: SourceFile) => file.path.startsWith("test/") && !file.path.startsWith("test/golden/");

const noFixedPorts: Rule = {
  name: "no test uses a default port of unibus or of the servers near it",
  because: "a server that runs on this machine would answer in place of the one under test",
  check: (tree) => matches(tree, isTest, /\b(8470|4250|8480|6250)\b/),
  bad: { "test/a.test.ts": "listen(8470);" },
  good: { "src/a.ts": "const port = 8470;", "test/golden/a.json": '"127.0.0.1:8470"', "test/a.test.ts": "listen(0);" },
};

describe("paths and ports", () => {
  for (const rule of [noHostPaths, noTempPaths, noFixedPorts]) judge(rule);
});
