/**
 * The pages in docs/ and the README as a whole: docs/README.md is the one index, every link leads to a file and a
 * heading, and every file of the project that a page names exists. protocol.test.ts checks the pages of the protocol
 * further.
 */
import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { anchorsIn, programsOf } from "../support/pages.ts";

const root = join(import.meta.dir, "..", "..");
const index = "docs/README.md";
const textOf = (page: string) => readFileSync(join(root, page), "utf8");

/** Every page, by its path in the project. */
const pages = [
  ...["README.md", "CONTRIBUTING.md", "SECURITY.md", "examples/README.md"],
  ...readdirSync(join(root, "docs"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".md"))
    .map((name) => `docs/${name.replaceAll("\\", "/")}`),
];

/** The links of a page to files of the project, without those in programs. */
function linksOf(
  page: string,
): { readonly page: string; readonly path: string; readonly anchor: string | undefined }[] {
  const prose = textOf(page).replace(/^```.*?^```$/gms, "");
  return [...prose.matchAll(/\]\(([^)#:\s]*)(?:#([^)\s]*))?\)/g)].map(([, to = "", anchor]) => ({
    ...{ page, anchor },
    path: to === "" ? page : normalize(join(dirname(page), to)).replaceAll("\\", "/"),
  }));
}

test("every page is linked from docs/README.md, which the README links", () => {
  const linked = new Set(linksOf(index).map(({ path }) => path));
  expect(pages.filter((page) => page !== index && !linked.has(page))).toEqual([]);
  expect(linksOf("README.md").map(({ path }) => path)).toContain(index);
});

test("every link leads to a file and a heading", () => {
  const links = pages.flatMap(linksOf);
  expect(links.length).toBeGreaterThan(100);
  const broken = links.filter(
    ({ path, anchor }) =>
      !existsSync(join(root, path)) || (anchor !== undefined && !anchorsIn(textOf(path)).includes(anchor)),
  );
  expect(broken).toEqual([]);
});

test("every file that a page names exists", () => {
  const named = pages.flatMap((page) =>
    [...textOf(page).matchAll(/`((?:src|test|scripts|examples|bench|docs)\/[\w./-]+\.[a-z]+)`/g)].map(
      ([, path = ""]) => `${page}: ${path}`,
    ),
  );
  expect(named.length).toBeGreaterThan(100);
  expect(named.filter((one) => !existsSync(join(root, one.slice(one.indexOf(": ") + 2))))).toEqual([]);
});

test("the README, Concepts and Architecture each have a picture", () => {
  const drawn = ["README.md", "docs/concepts.md", "docs/architecture.md"].filter((page) =>
    /^```mermaid\n(?:flowchart|sequenceDiagram)/m.test(textOf(page)),
  );
  expect(drawn).toHaveLength(3);
});

test("the programs of By hand keep the rules of docs/protocol that a run of them does not show", () => {
  const programs = programsOf("by-hand.md");
  const durable = programs.get("durable.mjs") ?? "";
  // DUR-1: subscribed at the server before the bind. DUR-2 and DUR-6: both subjects are the client's own.
  const steps = ["subscribe(deliver)", "listening.flush()", '"PUT"', "body.deliver !== deliver"];
  const at = steps.map((step) => durable.indexOf(step));
  expect(at).toEqual(at.filter((place) => place >= 0).sort((a, b) => a - b));
  expect(durable).toContain("message.reply?.startsWith(acks)");
  expect(durable.match(/body\.\w+/g)).toEqual(["body.deliver"]);
  // LOGIN-10: acknowledgements of JetStream are awaited where no user may publish.
  expect(programs.get("login.mjs")).toMatch(/`_INBOX\.\$\{endpoint\}\.a\.\$\{randomBytes\(16\)/);
  // RPC-4: a service answers at inboxes for replies only.
  expect(programs.get("answer.mjs")).toContain("if (isInbox) request.respond(");
});
