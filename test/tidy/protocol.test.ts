/**
 * The pages of docs/protocol: every rule has a number and names the test that holds it, every example has the bytes of
 * the vectors or the shape of the API, and every link leads somewhere.
 *
 * A rule is a bullet `- **PAGE-N** ...`. The table under "## Tests" names, for each rule with a MUST, test files and a
 * part of the test's name: "`test/x.test.ts`: part". If you rename such a test, change the name there, too.
 */
import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { TSchema } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { waitingAt } from "../../src/client/transport/inboxes.ts";
import * as adminApi from "../../src/wire/admin-api.ts";
import * as api from "../../src/wire/api.ts";
import { statusOf } from "../../src/wire/errors.ts";
import { consumerName, deliverSubject, noticeSubject, streamName } from "../../src/wire/names.ts";
import { natsPayloadBytesMax } from "../../src/wire/room-stream.ts";
import { anchorsIn } from "../support/pages.ts";

const root = join(import.meta.dir, "..", "..");
const folder = join(root, "docs", "protocol");
const index = "README.md";
const pages = readdirSync(folder).filter((name) => name !== index);
const textOf = (page: string) => readFileSync(join(folder, page), "utf8");

interface Block {
  /** The words after the fence. */
  readonly kind: string;
  readonly text: string;
}

const fences = /^```([^\n]*)\n(.*?)^```$/gms;
const blocksOf = (text: string): Block[] =>
  [...text.matchAll(fences)].map(([, kind = "", inner = ""]) => ({ kind, text: inner.replace(/\n$/, "") }));

const ruleShape = /^- \*\*([A-Z]+-\d+)\*\* ((?:.+)(?:\n {2}.+)*)/gm;
const rulesOf = (text: string) =>
  [...text.matchAll(ruleShape)].map(([, id = "", rule = ""]) => ({ id, isMust: /\bMUST\b/.test(rule) }));

/** The table of a page: the tests of each rule. */
function testsOf(text: string): Map<string, { readonly file: string; readonly name: string }[]> {
  const [, table = ""] = text.split(/^## Tests$/m);
  return new Map(
    [...table.matchAll(/^\| ([A-Z]+-\d+) \| (.+) \|$/gm)].map(([, id = "", cell = ""]) => [
      id,
      cell.split("<br>").map((entry) => {
        const [, file = "", name = ""] = /^`(test\/[\w/.-]+)`: (.{4,})$/.exec(entry) ?? [];
        if (file === "") throw new Error(`${id}: ${entry} is not \`test/FILE\`: PART OF A NAME`);
        return { file, name };
      }),
    ]),
  );
}

const vectors = JSON.parse(readFileSync(join(root, "test", "golden", "vectors.json"), "utf8")) as unknown;

/** The value at a path such as `frame.0.wire`. */
function vectorAt(path: string): string {
  let value = vectors;
  for (const key of path.split(".")) value = (value as Record<string, unknown> | undefined)?.[key];
  if (typeof value !== "string" && typeof value !== "number") throw new Error(`the vectors have no ${path}`);
  return String(value).replace(/\n$/, "");
}

test("there are pages", () => expect(pages.length).toBeGreaterThan(8));

test("no two pages number their rules under one name", () => {
  const names = pages.map((page) => rulesOf(textOf(page))[0]?.id.split("-")[0]);
  expect(names.filter((name, at) => names.indexOf(name) !== at)).toEqual([]);
});

describe.each(pages)("docs/protocol/%s", (page) => {
  const text = textOf(page);
  const rules = rulesOf(text);

  test("numbers its rules from 1, under one name", () => {
    const name = rules[0]?.id.split("-")[0];
    expect(rules.map(({ id }) => id)).toEqual(rules.map((_, at) => `${name}-${at + 1}`));
    expect(rules.length).toBeGreaterThan(1);
  });

  test("uses MUST in rules only", () => {
    const rest = text.replace(fences, "").replace(ruleShape, "");
    expect(rest.split("\n").filter((line) => /\bMUST\b/.test(line))).toEqual([]);
  });

  test("names a test for each rule with a MUST, and for no other", () => {
    const wanted = rules.filter(({ isMust }) => isMust).map(({ id }) => id);
    expect([...testsOf(text).keys()]).toEqual(wanted);
  });

  test("names tests that exist", () => {
    const missing = [...testsOf(text).values()].flat().filter(({ file, name }) => {
      const path = join(root, file);
      return !existsSync(path) || !readFileSync(path, "utf8").includes(name);
    });
    expect(missing).toEqual([]);
  });

  test("has an example, with the bytes of the vectors and replies of the API's shape", () => {
    expect(text).toContain("## Example");
    for (const { kind, text: given } of blocksOf(text)) {
      const [, form, path = ""] = /^\w+ (?:(vector|base64|reply)=)?(\S+)$/.exec(kind) ?? [];
      if (form === "vector") expect(given).toBe(vectorAt(path));
      else if (form === "base64") expect(given).toBe(Buffer.from(vectorAt(path)).toString("base64"));
      else if (form === "reply") {
        const schema = ({ ...api, ...adminApi } as Readonly<Record<string, unknown>>)[path] as TSchema;
        expect([...Value.Errors(schema, JSON.parse(given))]).toEqual([]);
      } else expect(path).toBe("grammar");
    }
  });
});

test("the grammar of a frame accepts what Go wrote, and not the same with another key order", () => {
  const [{ text: printed } = { text: "" }] = blocksOf(textOf("frames.md")).filter(
    ({ kind }) => kind === "text grammar",
  );
  const source = printed
    .replaceAll("\n", "")
    .replaceAll('"U"', '"[0-7][0-9A-HJKMNP-TV-Z]{25}"')
    .replace(/\bB(?=[{+])/g, "[A-Za-z0-9+/]")
    .replace(/W(?=[{+])/g, "[A-Za-z0-9_-]");
  const grammar = new RegExp(`^(?:${source})$`);
  const frames = [vectorAt("frame.0.wire"), vectorAt("frame.1.wire")];
  for (const frame of frames) {
    expect(frame).toMatch(grammar);
    const { t, ...rest } = JSON.parse(frame) as Record<string, unknown>;
    expect(JSON.stringify({ ...rest, t })).not.toMatch(grammar);
    expect(frame.replace('"t":', '"t": ')).not.toMatch(grammar);
  }
});

test("the names in the examples equal those of the code", () => {
  const { room_id, from } = { room_id: vectorAt("frame.0.room_id"), from: vectorAt("endpoint_id.endpoint_id") };
  const { id } = JSON.parse(vectorAt("frame.0.wire")) as { id: string };
  const device = "phone";
  const wanted: Readonly<Record<string, readonly string[]>> = {
    "history.md": [`Nats-Msg-Id: ${from}.${id}`, `{"stream":"${streamName(room_id)}","seq":1}`],
    "durables.md": [
      `"stream": "${streamName(room_id)}"`,
      `"consumer": "${consumerName(room_id, from, device)}"`,
      `"deliver": "${deliverSubject(from, room_id, device)}"`,
    ],
    "notices.md": [noticeSubject(from, "rekeyed"), JSON.stringify({ room_id })],
    "limits.md": [JSON.stringify({ max_payload: natsPayloadBytesMax })],
  };
  for (const [page, texts] of Object.entries(wanted)) {
    expect([page, texts.filter((text) => !textOf(page).includes(text))]).toEqual([page, []]);
  }
  const [inbox = ""] = /_INBOX\.\S+\.r\.[0-9a-f]{32}\.[0-9a-f]{32}/.exec(textOf("rpc.md")) ?? [];
  expect(waitingAt(inbox)).toBe(from);
});

test("the table of errors has every code with its status, and no other", () => {
  const rows = [...textOf("errors.md").matchAll(/^\| `(\w+)` \| (\d{3}) \|/gm)].map(([, code, status]) => [
    code,
    status,
  ]);
  expect(Object.fromEntries(rows)).toEqual(
    Object.fromEntries(Object.entries(statusOf).map(([code, status]) => [code, String(status)])),
  );
});

test("every page is linked from the index, and every link leads to a file and a heading", () => {
  const links = (page: string) =>
    [...textOf(page).matchAll(/\]\(([^)#:]*)(?:#([^)]*))?\)/g)].map(([, path = "", anchor]) => ({
      path: join(folder, path || page),
      anchor,
    }));
  const linked = links(index).map(({ path }) => path);
  expect(pages.filter((page) => !linked.includes(join(folder, page)))).toEqual([]);
  const broken = [index, ...pages].flatMap(links).filter(({ path, anchor }) => {
    return !existsSync(path) || (anchor !== undefined && !anchorsIn(readFileSync(path, "utf8")).includes(anchor));
  });
  expect(broken).toEqual([]);
});
