/**
 * Plain English in strings, comments and pages: rejects the turns of an old, compressed style that a reader had to
 * decode. Each pattern is tested with text that it must reject and with good English that it must accept.
 */
import { describe, expect, test } from "bun:test";
import { judge, parsed, placeOf, type Rule, type SourceFile, type Tree, visit } from "./rules.ts";

/** Where the rules apply: folders, and single pages. */
const roots = [
  "src/",
  "docs/",
  "examples/",
  "bench/",
  "scripts/",
  "test/",
  "README.md",
  "CHANGELOG.md",
  "CONTRIBUTING.md",
  "SECURITY.md",
];

/** This file, whose samples break the rules. */
const self = "test/tidy/english.test.ts";

interface Pattern {
  readonly name: string;
  readonly instead: string;
  readonly match: RegExp;
  readonly bad: readonly string[];
  readonly good: readonly string[];
}

const patterns: readonly Pattern[] = [
  {
    name: "whoever",
    instead: "name the person or program: anyone who, the caller, the sender",
    match: /\b(?:who|whom)ever\b/i,
    bad: ["Whoever has the file can act as ana."],
    good: ["Anyone who has the file can act as ana."],
  },
  {
    name: "nobody, somebody",
    instead: "use a noun: no user, another process, a member",
    match: /\b(?:[Nn]o|[Ss]ome)body\b/,
    bad: ["A key that nobody holds.", "rooms that somebody left"],
    good: ["A key that no member holds.", "the hash of noBody"],
  },
  {
    name: "whatever without a noun",
    instead: "say what it is",
    match: /\bwhatever (?:comes?|came|stays?|that (?:is|was))\b/i,
    bad: ["Whatever came is read.", "signs the bare nonce, whatever that is"],
    good: ["Each once, in order, whatever happens to the connection.", "consistent, whatever is written during it"],
  },
  {
    name: "mend",
    instead: "fix or repair; the hint of an error",
    match: /\bmend(?:s|ed|ing)?\b/i,
    bad: ["Errors are one line with the mend."],
    good: ["We recommend a fix, and amend the commit."],
  },
  {
    name: "told, tells",
    instead: "reports, notifies, logs, emits, shows",
    match: /\b(?:told|tells)\b/i,
    bad: ["Called when the members were told.", "tells how many are open"],
    good: ["Names that a person cannot tell apart."],
  },
  {
    name: "is none",
    instead: "there is none, or: is not one",
    match: /(?<!\b[Tt]here )\b(?:is|are|was|were|be) none\b(?! of\b)/,
    bad: ["what is none is named by its line"],
    good: ["null if there is none", "it is none of these"],
  },
  {
    name: "is no X",
    instead: "is not a X",
    match:
      /(?<!\b(?:there|where) )\b(?:is|are|was|were|becomes?) no (?!longer|more|less|later|earlier|larger|smaller|one\b)[a-z]/i,
    bad: ["this is no member of the room", "A file that is no database is refused."],
    good: ["there is no admin yet", "is no longer a member", "The copy is no more than a hint."],
  },
  {
    name: "is not there",
    instead: "does not exist, is missing",
    match: /\b(?:is|are|was|were) not there\b/i,
    bad: ["0 where the folder is not there"],
    good: ["0 if the folder does not exist"],
  },
  {
    name: "anew",
    instead: "again, or a new one",
    match: /\banew\b/i,
    bad: ["its budget starts anew"],
    good: ["its budget starts again", "a new one"],
  },
  {
    name: "stands for is",
    instead: "is, is listed, is in",
    match: /\bstands? (?:there|in an?|in the|at|beside|before|after)\b/i,
    bad: ["the plugin stands there twice", "work to do stands in an issue"],
    good: ["the code points that stand for it", "a stand-in for the file"],
  },
  {
    name: "so many",
    instead: "the number, or: that many",
    match: /\bso many\b(?! \w+ that\b)/i,
    bad: ["after so many messages"],
    good: ["so many requests that the limit applies", "after that many messages"],
  },
  {
    name: "meanwhile at the end",
    instead: "in the meantime, or name what happens",
    match: /(?<=\w) meanwhile(?=[.,;:)?!"]|$)/im,
    bad: ["so that nothing changes meanwhile", "was the bus used meanwhile? stop it"],
    good: ["Meanwhile the old listener goes on.", "and meanwhile the reader waits"],
  },
  {
    name: "what there is",
    instead: "name it",
    match: /\bwhat there is\b/i,
    bad: ["lists what there is"],
    good: ["lists the rooms that exist"],
  },
  {
    name: "has no other",
    instead: "say which one it has",
    match: /\bhas no (?:more|other)(?=[.,;:)]|$)/i,
    bad: ["A stream with one replica has no other."],
    good: ["the machine has no other address"],
  },
  {
    name: "one does",
    instead: "you, the caller, a member",
    match: /(?:^|[.,;:(] |\b(?:as|what|where) )one (?:does|sees|wants|has to|cannot)\b|(?:^|[.,;:(] |\band )one who\b/i,
    bad: ["one sees one's own rooms only", "three people, and one who is removed"],
    good: ["the one who is removed", "no one who left", "so that a new one does not rewrite them"],
  },
  {
    name: "who without a noun",
    instead: "a user who, the member who",
    match: /(?:^|[.!:;] )Who (?!else\b)[^.?!|]+\.|\b(?:to|by|for|from|with|against) who\b/,
    bad: ["Who is in a room has accepted it.", "a reply to who asked"],
    good: ["Who can read what?", "A user who is in a room has accepted it.", "It logs who asked."],
  },
];

/** Text that a pattern matches and that stays, with the reason. */
const allowed: readonly { readonly in: string; readonly text: string; readonly because: string }[] = [];

interface Text {
  readonly value: string;
  /** The offset of the text in its file. */
  readonly start: number;
}

/** Joins the lines of a comment or paragraph, so that a pattern also matches across two lines. */
const joined = (text: string): string => text.replace(/\s*\n\s*(?:(?:\*|\/\/|--|>)\s)?\s*/g, " ");

/** Whether a string is prose: it has at least two words in a row. */
const isProse = (text: string) => /[A-Za-z]{2,}[,;:]? +[A-Za-z]{2,}/.test(text);

function textsOfCode(file: SourceFile): Text[] {
  const { program, comments } = parsed(file);
  const found: Text[] = comments.map(({ value, start }) => ({ value, start }));
  visit(program, (node) => {
    const value =
      node.type === "Literal" && typeof node.value === "string"
        ? node.value
        : node.type === "TemplateElement"
          ? (node.value.cooked ?? "")
          : "";
    if (isProse(value)) found.push({ value, start: node.start });
  });
  return found;
}

/** The paragraphs of a page or of a migration. */
function paragraphsOf(file: SourceFile): Text[] {
  return [...file.text.matchAll(/(?:.+\n?)+/g)].map(({ 0: value, index }) => ({ value, start: index }));
}

const known = new WeakMap<SourceFile, readonly Text[]>();

function textsOf(file: SourceFile): readonly Text[] {
  const texts = known.get(file) ?? (/\.(ts|mjs)$/.test(file.path) ? textsOfCode(file) : paragraphsOf(file));
  known.set(file, texts);
  return texts;
}

function matches(tree: Tree, { match }: Pattern): string[] {
  const files = [...tree.values()].filter(
    ({ path }) => path !== self && roots.some((root) => path.startsWith(root)) && /\.(ts|mjs|md|sql)$/.test(path),
  );
  return files.flatMap((file) =>
    textsOf(file).flatMap(({ value, start }) => {
      const text = joined(value);
      const found = match.exec(text);
      if (found === null) return [];
      if (allowed.some((one) => file.path.startsWith(one.in) && text.includes(one.text))) return [];
      const around = text.slice(Math.max(0, found.index - 30), found.index + found[0].length + 30).trim();
      return [`${placeOf(file, start)} "${around}"`];
    }),
  );
}

const sampleOf = (texts: readonly string[]) =>
  Object.fromEntries(texts.map((text, index) => [`src/a${index}.ts`, `/** ${text} */\nexport {};`]));

describe("plain English", () => {
  for (const pattern of patterns) {
    const rule: Rule = {
      name: `no text says "${pattern.name}"`,
      because: `a reader has to decode it (write: ${pattern.instead})`,
      check: (tree) => matches(tree, pattern),
      bad: sampleOf(pattern.bad),
      good: sampleOf(pattern.good),
    };
    judge(rule);
  }

  test("every sample is judged as it should be", () => {
    const wrong = patterns.flatMap(({ name, match, bad, good }) => [
      ...bad.filter((text) => !match.test(text)).map((text) => `${name} accepts: ${text}`),
      ...good.filter((text) => match.test(text)).map((text) => `${name} rejects: ${text}`),
    ]);
    expect(wrong).toEqual([]);
  });
});
