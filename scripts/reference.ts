/**
 * Generates docs/reference/http.md from the golden copy of the HTTP contract, test/golden/openapi.json.
 * For each operation it writes the parameters, the fields of body and reply, and the errors that are not common to all
 * routes. A test checks that the file in the repository is up to date.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

const root = join(import.meta.dir, "..");

/** The contract that the reference is generated from, and the reference. */
export const files = {
  contract: join(root, "test", "golden", "openapi.json"),
  reference: join(root, "docs", "reference", "http.md"),
} as const;

/** The subset of JSON Schema that the contract uses. */
interface Schema {
  readonly type?: string;
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly patternProperties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly items?: Schema;
  readonly anyOf?: readonly Schema[];
  readonly const?: unknown;
  readonly pattern?: string;
  readonly format?: string;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly minimum?: number;
  readonly maximum?: number;
}

type Content = Readonly<Record<string, { readonly schema: Schema }>>;

interface Operation {
  readonly summary: string;
  readonly "x-access": "public" | "signed" | "admin";
  readonly parameters: readonly { readonly name: string; readonly in: string; readonly schema: Schema }[];
  readonly requestBody?: { readonly required: boolean; readonly content: Content };
  readonly responses: Readonly<Record<string, { readonly description: string; readonly content?: Content }>>;
}

/** An OpenAPI document as unibus serves it. */
export interface Contract {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
}

const who = { public: "anyone", signed: "a user, signed", admin: "an admin, signed" } as const;

const cell = (text: string): string => text.replaceAll("|", "\\|");
const code = (text: string): string => `\`${text}\``;

function typeOf(schema: Schema): string {
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.anyOf !== undefined) return schema.anyOf.map(typeOf).join(" | ");
  if (schema.type === "array") return `${typeOf(schema.items ?? {})}[]`;
  if (schema.patternProperties !== undefined)
    return `{[name]: ${typeOf(Object.values(schema.patternProperties)[0] ?? {})}}`;
  if (schema.format === "binary") return "bytes";
  return schema.type ?? "anything";
}

function range(low: number | undefined, high: number | undefined, what: string): string[] {
  if (low === undefined && (high === undefined || high === Number.MAX_SAFE_INTEGER)) return [];
  if (high === undefined || high === Number.MAX_SAFE_INTEGER) return [`at least ${low}${what}`];
  return [low === undefined ? `at most ${high}${what}` : `${low} to ${high}${what}`];
}

/** The constraints of a value besides its type: the contract's description if there is one. */
function rulesOf(schema: Schema): string {
  const { description, pattern, minLength, maxLength, minItems, maxItems, minimum, maximum } = schema;
  const rules = [
    ...(description === undefined ? [] : [description]),
    ...range(minLength, maxLength, " characters"),
    ...range(minItems, maxItems, " items"),
    ...(description === undefined ? range(minimum, maximum, "") : []),
    ...(pattern === undefined || description !== undefined ? [] : [code(pattern)]),
  ];
  return cell(rules.join("; "));
}

/** One row for each field, including the fields of nested objects and lists. */
function fieldRows(schema: Schema, prefix = ""): string[] {
  if (schema.type === "array" && schema.items?.properties !== undefined) {
    return fieldRows(schema.items, `${prefix}[]`);
  }
  return Object.entries(schema.properties ?? {}).flatMap(([name, inner]) => {
    const path = prefix === "" ? name : `${prefix}.${name}`;
    const optional = schema.required?.includes(name) ? "" : "optional";
    const row = `| ${code(path)} | ${cell(typeOf(inner))} | ${[optional, rulesOf(inner)].filter(Boolean).join("; ")} |`;
    const deeper = inner.type === "object" || inner.type === "array" ? fieldRows(inner, path) : [];
    return [row, ...deeper];
  });
}

function fieldTable(title: string, schema: Schema): string[] {
  const rows = fieldRows(schema);
  if (rows.length === 0) return ["", `${title}: ${cell(typeOf(schema))}.`];
  const shape = schema.type === "array" ? " (a list)" : "";
  return ["", `${title}${shape}:`, "", "| Field | Type | Rules |", "|---|---|---|", ...rows];
}

/** The error codes of an operation, as `code status`. */
function failuresOf({ responses }: Operation): string[] {
  return Object.entries(responses)
    .filter(([status]) => Number(status) >= 400)
    .flatMap(([status, { description }]) => description.split(", ").map((name) => `${code(name)} ${status}`));
}

interface Named {
  readonly name: string;
  readonly operation: Operation;
}

function section({ name, operation }: Named, everywhere: ReadonlySet<string>): string[] {
  const { summary, parameters, requestBody, responses } = operation;
  const own = failuresOf(operation).filter((failure) => !everywhere.has(failure));
  const given = parameters.map(({ name: parameter, in: place, schema }) => {
    const rules = rulesOf(schema);
    return `| ${code(parameter)} | ${place} | ${cell(typeOf(schema))} | ${rules} |`;
  });
  const [type, body] = Object.entries(requestBody?.content ?? {})[0] ?? [];
  const successes = Object.entries(responses).filter(([status]) => Number(status) < 400);
  const reply = successes[0]?.[1].content;
  const [replyType, replyBody] = Object.entries(reply ?? {})[0] ?? [];
  const statuses = successes.map(([status]) => status).join(" or ");
  return [
    `## ${name}`,
    "",
    `${summary}. For ${who[operation["x-access"]]}.`,
    ...(given.length === 0 ? [] : ["", "| Parameter | In | Type | Rules |", "|---|---|---|---|", ...given]),
    ...(body === undefined
      ? []
      : fieldTable(`Body, ${code(type ?? "")}${requestBody?.required ? "" : ", which may be left out"}`, body.schema)),
    ...(replyBody === undefined
      ? ["", `Reply: ${statuses}, no body.`]
      : fieldTable(`Reply, ${statuses}, ${code(replyType ?? "")}`, replyBody.schema)),
    ...(own.length === 0 ? [] : ["", `Errors: ${own.join(", ")}.`]),
    "",
  ];
}

/** Generates the reference of a contract in Markdown. */
export function reference({ paths }: Contract): string {
  const all = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(
      ([method, operation]): Named => ({ name: `${method.toUpperCase()} ${path}`, operation }),
    ),
  );
  const shared = (some: readonly Named[]) => {
    const [first, ...others] = some.map(({ operation }) => failuresOf(operation));
    return (first ?? []).filter((failure) => others.every((other) => other.includes(failure)));
  };
  const everywhere = shared(all);
  const signed = shared(all.filter(({ operation }) => operation["x-access"] !== "public"));
  const known = new Set([...everywhere, ...signed]);
  const lines = [
    "# HTTP reference",
    "",
    "Made by `bun scripts/reference.ts` from what a running bus answers to `GET /openapi.json`. Do not edit it by hand.",
    "",
    "Every error is `{error, code}`: a message for people, and a stable code for programs. Every reply has",
    "`X-Request-Id`, which identifies the request in the log. An unknown path is 404 `not_found`, another method",
    "405 `method_not_allowed`.",
    "",
    `Any route may answer: ${everywhere.join(", ")}.`,
    `Signed routes also: ${signed.filter((failure) => !everywhere.includes(failure)).join(", ")}.`,
    "The errors of a section are in addition to these.",
    "",
    "| Route | Who | What it does |",
    "|---|---|---|",
    ...all.map(
      ({ name, operation }) => `| ${code(name)} | ${who[operation["x-access"]]} | ${cell(operation.summary)} |`,
    ),
    "",
    ...all.flatMap((one) => section(one, known)),
  ];
  return `${lines.join("\n").trimEnd()}\n`;
}

if (import.meta.main) {
  const contract = JSON.parse(readFileSync(files.contract, "utf8")) as Contract;
  mkdirSync(dirname(files.reference), { recursive: true });
  writeFileSync(files.reference, reference(contract));
  console.log("docs/reference/http.md");
}
