/** Makes bundles for browsers small: what a page never uses stays out, and tables are packed. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { wordlist } from "@scure/bip39/wordlists/english.js";
import type { BunPlugin } from "bun";
import * as adminApi from "../src/wire/admin-api.ts";
import * as api from "../src/wire/api.ts";
import { confusables, unicodeVersion } from "../src/wire/confusables.ts";
import * as joining from "../src/wire/joining.ts";
import { isBytes, type ObjectSchema, type RouteSpec } from "../src/wire/route.ts";
import { routes } from "../src/wire/routes.ts";

const root = join(import.meta.dir, "..");

/**
 * The module of the word list, a third smaller: of each word the number of letters that it shares with the one before,
 * and the rest.
 */
function packedWords(): string {
  let before = "";
  const parts = wordlist.map((word) => {
    const shared = [...word].findIndex((letter, i) => letter !== before[i]);
    before = word;
    return `${shared}${word.slice(shared)}`;
  });
  const unpacked = (text: string, word = "") =>
    text.match(/\d[a-z]+/g)?.map((part) => (word = word.slice(0, Number(part[0])) + part.slice(1)));
  const packed = parts.join("");
  if (unpacked(packed)?.join() !== wordlist.join()) throw new Error("the packed word list is not the word list");
  return `const unpacked = ${unpacked}; export const wordlist = unpacked(${JSON.stringify(packed)});`;
}

/**
 * The module of character classes, half as large: of each range the distance to the one before, and its length, in
 * base 36.
 */
function packedClasses(): string {
  const unpacked = (text: string, at = 0) =>
    text
      .split(",")
      .map((range) => {
        const [from = 0, length = 0] = range.split(".").map((part) => Number.parseInt(part, 36));
        const first = at + from;
        at = first + length;
        const written = (code: number) => `\\u{${code.toString(16)}}`;
        return length === 0 ? written(first) : `${written(first)}-${written(at)}`;
      })
      .join("");
  const packed = (text: string) => {
    let at = 0;
    const ranges = [...text.matchAll(/\\u\{([0-9a-f]+)\}(?:-\\u\{([0-9a-f]+)\})?/g)].map(([, from = "", to = from]) => {
      const [first, last] = [Number.parseInt(from, 16), Number.parseInt(to, 16)];
      const part = [first - at, last - first].map((number) => number.toString(36));
      at = last;
      return first === last ? part[0] : part.join(".");
    });
    if (unpacked(ranges.join(",")) !== text) throw new Error("a packed class is not the class");
    return ranges.join(",");
  };
  const parts = Object.entries(joining).map(
    ([name, text]) => `export const ${name} = unpacked(${JSON.stringify(packed(text))});`,
  );
  return [`const unpacked = ${unpacked};`, ...parts].join("\n");
}

/** The module of confusable characters: the distances to the character before and the prototypes, each side by side. */
function packedConfusables(): string {
  const unpacked = (steps: string, prototypes: string, all = prototypes.split(",")) =>
    steps
      .split(",")
      .map((step, at) => `${step || 1}:${all[at]}`)
      .join(",");
  const entries = confusables.split(",").map((entry) => entry.split(":"));
  const steps = entries.map(([step = ""]) => (step === "1" ? "" : step)).join(",");
  const prototypes = entries.map(([, prototype = ""]) => prototype).join(",");
  if (unpacked(steps, prototypes) !== confusables) throw new Error("the packed confusables are not the confusables");
  const packed = [steps, prototypes].map((text) => JSON.stringify(text)).join(", ");
  return [
    `export const unicodeVersion = ${JSON.stringify(unicodeVersion)};`,
    `export const confusables = (${unpacked})(${packed});`,
  ].join("\n");
}

/** How a browser refers to each schema that `api.ts` and `admin-api.ts` export. */
const schemaNames = new Map<unknown, string>([
  ...Object.entries(adminApi).map(([name, schema]): [unknown, string] => [schema, `adminApi.${name}`]),
  ...Object.entries(api).map(([name, schema]): [unknown, string] => [schema, `api.${name}`]),
]);

/** The patterns of the parts of a target, as a schema. */
function patternsOf(schema: ObjectSchema | undefined): string | false {
  const parts = Object.entries(schema?.properties ?? {}).flatMap(([name, { pattern }]) =>
    pattern === undefined ? [] : [[name, { pattern }]],
  );
  return parts.length > 0 && JSON.stringify({ properties: Object.fromEntries(parts) });
}

/** What a client uses of a route: where to send, which ids fit into the target, and what the reply must look like. */
function neededOf({ method, path, access, params, query, body, reply }: RouteSpec): string {
  const fields = [
    `method: "${method}", path: "${path}"`,
    access === "public" && `access: "public"`,
    patternsOf(params) && `params: ${patternsOf(params)}`,
    patternsOf(query) && `query: ${patternsOf(query)}`,
    isBytes(body) && `body: ${JSON.stringify(body)}`,
    reply !== undefined && `reply: ${schemaNames.get(reply) ?? JSON.stringify(reply)}`,
  ];
  return `{ ${fields.filter(Boolean).join(", ")} }`;
}

/** The module of the routes, without what only servers use: bodies, limits, and the texts of the API reference. */
function clientRoutes(): string {
  const groups = Object.entries(routes).map(([group, specs]) => {
    const lines = Object.entries(specs).map(([name, spec]) => `${name}: ${neededOf(spec)},`);
    return `${group}: {\n${lines.join("\n")}\n},`;
  });
  const imports = `import * as adminApi from "./admin-api.ts";\nimport * as api from "./api.ts";`;
  return `${imports}\nexport const routes = {\n${groups.join("\n")}\n};`;
}

/** Marks the calls that make schemas as free of side effects, so that a bundle has only the schemas that it uses. */
const pureSchemas = (text: string): string =>
  text
    .replace(/\b(?:Type\.[A-Z][a-z]+|Strict|Nullable)\(/g, "/* @__PURE__ */ $&")
    .replace(/\bdescription: (?:"[^"]*"|`[^`]*`|afterText),?/g, "");

const schemas = join(root, "src", "client", "transport", "schema-browser.ts");

/**
 * Makes the browser bundle small. Libraries ask for `crypto`, but prefer the browser's own. A small file has the part
 * of TypeBox that is used. Tables are packed, and routes and schemas have only what a client uses.
 */
export const lean: BunPlugin = {
  name: "lean",
  setup(build) {
    const empty = { path: "empty", namespace: "lean" };
    build.onResolve({ filter: /^(node:)?crypto$/ }, () => empty);
    build.onLoad({ filter: /./, namespace: "lean" }, () => ({ contents: "export default {};", loader: "js" }));
    build.onLoad({ filter: /bip39\/wordlists\/english\.js$/ }, () => ({ contents: packedWords(), loader: "js" }));
    build.onLoad({ filter: /src\/wire\/(api|api-messages|admin-api)\.ts$/ }, ({ path }) => ({
      contents: pureSchemas(readFileSync(path, "utf8")),
      loader: "ts",
    }));
    build.onLoad({ filter: /src\/wire\/routes\.ts$/ }, () => ({ contents: clientRoutes(), loader: "ts" }));
    build.onLoad({ filter: /src\/wire\/confusables\.ts$/ }, () => ({ contents: packedConfusables(), loader: "js" }));
    build.onLoad({ filter: /src\/wire\/joining\.ts$/ }, () => ({ contents: packedClasses(), loader: "js" }));
    build.onResolve({ filter: /^@sinclair\/typebox(\/value)?$/ }, () => ({ path: schemas }));
  },
};
