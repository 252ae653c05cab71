/**
 * Generates docs/reference/client.md from the doc comments of everything reachable from the exports of `unibus/client`.
 * It parses the sources with oxc, follows imports and re-exports from the entry to the declarations, and lists their
 * public members. A test checks that the file in the repository is up to date.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { type Comment, type Node, parseSync } from "oxc-parser";

const root = join(import.meta.dir, "..");
const entry = join(root, "src", "client", "index.ts");

/** The path of the reference. */
export const clientReferenceFile: string = join(root, "docs", "reference", "client.md");

/** Internal types that are reachable: a member that names one of them is left out. */
const inner = /\b(ControlPlane|RoomReader|RoomBlobs|DurableParts|Receive[rd])\b/;
/** The order in which a reader meets the classes. The rest is sorted by name. */
const firstOnes = [
  "Bus",
  "Room",
  "Conversation",
  "Membership",
  "Messages",
  "Message",
  "ReceivedFile",
  "LiveTimeline",
  "TimelineItem",
  "Timeline",
  "Presence",
  "Durable",
  "Directory",
  "Recovery",
  "Admin",
  "AdminUsers",
  "AdminInvites",
  "Identity",
  "UnibusError",
];

interface Source {
  readonly file: string;
  readonly text: string;
  readonly body: readonly Node[];
  readonly comments: readonly Comment[];
}

/** A named declaration that is exported, and where it is declared. */
interface Declared {
  readonly name: string;
  readonly source: Source;
  readonly node: Node;
  readonly doc: string;
}

/** A node with the fields that are read here. Which of them exist depends on the node's type. */
type Part = Node & {
  readonly id?: { readonly name: string } | null;
  readonly key?: Node & { readonly name?: string };
  readonly value?: Node & { readonly body?: Node | null };
  readonly body?: Node | null;
  readonly kind?: string;
  readonly static?: boolean;
  readonly computed?: boolean;
  readonly accessibility?: string | null;
  readonly declaration?: Part | null;
  readonly declarations?: readonly Part[];
  readonly typeAnnotation?: Part;
  readonly parameter?: Part;
};

const sources = new Map<string, Source>();

function sourceOf(file: string): Source {
  const known = sources.get(file);
  if (known !== undefined) return known;
  const text = readFileSync(file, "utf8");
  const { program, comments } = parseSync(file, text);
  const made = { file, text, body: program.body as unknown as Node[], comments };
  sources.set(file, made);
  return made;
}

/** The doc comment right before an offset, as one paragraph. */
function docAt({ text, comments }: Source, offset: number): string {
  const comment = comments.findLast(({ end }) => end <= offset);
  if (comment === undefined || !comment.value.startsWith("*") || text.slice(comment.end, offset).trim() !== "")
    return "";
  const lines = comment.value.slice(1).split("\n");
  return lines
    .map((line) => line.replace(/^\s*\*?\s?/, "").trim())
    .join(" ")
    .replace(/\s*Source: (?:spec [^.]*\.?|(?:\S+\.md(?:, |\.))+)/g, "")
    .replace(/\s+/g, " ")
    .trim();
}

const code = (text: string): string => `\`${text.replace(/\s+/g, " ").replace(/,? \}/g, " }").trim()}\``;

/** Finds the declaration of a name: in this file, or in the file that it is imported or re-exported from. */
function find(source: Source, name: string): Declared | null {
  for (const node of source.body as readonly Part[]) {
    const declaration = node.declaration ?? null;
    const names = declaration?.id?.name ?? declaration?.declarations?.[0]?.id?.name;
    if (names === name && declaration !== null) {
      return { name, source, node: declaration, doc: docAt(source, node.start) };
    }
    // A type that only the signatures of the same file use.
    if (node.type.startsWith("TS") && node.id?.name === name) {
      return { name, source, node, doc: docAt(source, node.start) };
    }
  }
  for (const { from, names } of linksOf(source)) {
    const original = names.get(name);
    if (original !== undefined) return find(sourceOf(from), original);
  }
  return null;
}

/** A file's imports and re-exports from another file: each local name with the original name. */
function linksOf(source: Source): { readonly from: string; readonly names: ReadonlyMap<string, string> }[] {
  return source.body.flatMap((node) => {
    if (node.type !== "ImportDeclaration" && node.type !== "ExportNamedDeclaration") return [];
    const to = node.source?.value;
    if (to === undefined || !to.startsWith(".")) return [];
    const names = new Map<string, string>();
    for (const one of node.specifiers) {
      const [here, there] =
        one.type === "ExportSpecifier"
          ? [one.exported, one.local]
          : [one.local, "imported" in one ? one.imported : null];
      if (there !== null && "name" in here && "name" in there) names.set(here.name, there.name);
    }
    return [{ from: resolve(dirname(source.file), to), names }];
  });
}

/** All exports of the entry, by name. */
function exported(): Declared[] {
  const source = sourceOf(entry);
  const names = (source.body as readonly Part[]).flatMap((node) => {
    if (node.type !== "ExportNamedDeclaration") return [];
    const own = node.declaration?.id?.name;
    return own === undefined
      ? node.specifiers.flatMap(({ exported: one }) => ("name" in one ? [one.name] : []))
      : [own];
  });
  return names.flatMap((name) => find(source, name) ?? []);
}

/** One member of a class or interface: its signature and its description. */
interface Line {
  readonly written: string;
  readonly doc: string;
}

/** The signature of a member as its user sees it, or null for a private member. */
function memberOf(source: Source, node: Part): Line | null {
  const name = node.key?.name;
  if (name === undefined || node.computed || node.key?.type === "PrivateIdentifier") return null;
  if (node.accessibility === "private") return null;
  const end = node.value?.body?.start ?? node.value?.start ?? node.end;
  const isField = node.type === "PropertyDefinition" || node.type === "TSPropertySignature";
  const raw = source.text.slice(node.start, isField ? node.end : end).replace(/[;,]\s*$/, "");
  const plain = raw.replace(/^(?:(?:readonly|async|get|override)\s+)+/, "").replace(/^static async /, "static ");
  return { written: node.kind === "get" ? plain.replace("()", "") : plain, doc: docAt(source, node.start) };
}

/** The members of a class, an interface or an object type. */
function membersOf({ source, node }: Declared): Line[] {
  const found: Line[] = [];
  const walk = (at: Part | null | undefined): void => {
    if (at === null || at === undefined) return;
    if (at.type === "ClassBody" || at.type === "TSInterfaceBody") {
      for (const one of at.body as readonly Part[]) {
        const line = one.kind === "constructor" ? null : memberOf(source, one);
        if (line !== null) found.push(line);
        if (one.kind === "constructor") found.push(...parametersOf(source, one));
      }
    } else if (at.type === "TSTypeLiteral") {
      found.push(...(at.members as readonly Part[]).flatMap((one) => memberOf(source, one) ?? []));
    } else if (at.type === "TSIntersectionType") for (const one of at.types) walk(one as Part);
  };
  const part = node as Part;
  walk(part.type === "TSTypeAliasDeclaration" ? part.typeAnnotation : (part.body as Part | null));
  return found.filter((line) => !inner.test(line.written));
}

/** Constructor parameters that are public fields. */
function parametersOf(source: Source, made: Part): Line[] {
  const { params } = made.value as unknown as { params: readonly Part[] };
  return params.flatMap((one) => {
    if (one.type !== "TSParameterProperty" || one.accessibility === "private") return [];
    const written = source.text.slice(one.start, one.end).replace(/^readonly /, "");
    return [{ written, doc: docAt(source, one.start) }];
  });
}

/** The signature of a function, a constant or a type without members. Schemas are covered by the HTTP reference. */
function written({ source, node }: Declared): string {
  const part = node as Part;
  const text = source.text.slice(node.start, part.type === "FunctionDeclaration" ? part.body?.start : node.end);
  if (/= (?:Strict|Type\.\w+)\(/.test(text)) return "";
  return text
    .replace(/\/\*\*.*?\*\//gs, "")
    .replace(/^(async )?function /, "")
    .replace(/^type \w+ =\s*\|?/, "")
    .replace(/^(?:const )?\w+ = /, "")
    .replace(/;$/, "");
}

/** Everything that is exported, and transitively the types that it mentions. */
function reached(): Map<string, Declared> {
  const all = new Map<string, Declared>();
  const waiting = exported();
  for (let one = waiting.shift(); one !== undefined; one = waiting.shift()) {
    if (all.has(one.name)) continue;
    all.set(one.name, one);
    const texts = [
      ...membersOf(one).map((line) => line.written),
      written(one).slice(0, hasMembers(one) ? 0 : undefined),
    ];
    for (const name of texts.join(" ").match(/\b[A-Z]\w+|(?<=typeof )\w+/g) ?? []) {
      const next = find(one.source, name);
      if (next !== null) waiting.push(next);
    }
  }
  return all;
}

const hasMembers = (one: Declared): boolean => membersOf(one).length > 0;
const isFunction = ({ node }: Declared): boolean => node.type === "FunctionDeclaration";
const isClass = ({ node }: Declared): boolean => node.type === "ClassDeclaration";

/** What a type has besides the members that it declares, as a sentence; empty if there is nothing. */
function inherited({ source, node }: Declared): string {
  const [text = ""] = source.text.slice(node.start).split("{");
  const head = text.replace(/^((?:class|interface|type) \w+)<[^>]*>/, "$1");
  const [, whole] = / extends (?!Omit<)(\w+)/.exec(head) ?? [];
  if (whole !== undefined) return ` It has all that \`${whole}\` has.`;
  const [, base, left = ""] = /(?: extends|=) Omit<(\w+), ([^>]+)>/.exec(head) ?? [];
  if (base === undefined) return "";
  const names = left.split("|").map((name) => `\`${name.trim().slice(1, -1)}\``);
  return ` It has all that \`${base}\` has, except ${new Intl.ListFormat("en-GB").format(names)}.`;
}

function section(one: Declared): string[] {
  const lines = membersOf(one).map(({ written: how, doc }) => `- ${code(how)}${doc === "" ? "" : `: ${doc}`}`);
  return [
    `### ${one.name}`,
    "",
    `${one.doc}${inherited(one)}`.trim(),
    ...(lines.length === 0 ? [] : ["", ...lines]),
    "",
  ];
}

/** Generates the reference in Markdown. */
export function clientReference(): string {
  const all = [...reached().values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  const rest = all.filter((one) => !isFunction(one));
  const main = firstOnes.flatMap((name) => rest.find((one) => one.name === name) ?? []);
  const shapes = rest.filter((one) => !main.includes(one) && hasMembers(one) && !isClass(one));
  const others = rest.filter((one) => !main.includes(one) && !shapes.includes(one));
  const lines = [
    "# Client reference",
    "",
    "Made by `bun scripts/client-reference.ts` from the doc comments in `src/client`. Do not edit it by hand.",
    "",
    '`import { connect } from "unibus/client"` works in Bun, in Node 20.3 or newer, and in browsers. A page needs a secure',
    "context (https, or loopback) for keys that scripts cannot read, and the bus in `connect-src` of its content security",
    "policy. It needs neither `unsafe-eval` nor `wasm-unsafe-eval`. A page on another origin than the bus needs its origin in",
    "`http.cors_origins`, which allows HTTP and the WebSocket. In signatures, `Static<typeof X>` is the type of the JSON",
    "that `X` describes; its fields are in the [HTTP reference](http.md).",
    "",
    "## Functions",
    "",
    ...all.filter(isFunction).flatMap((one) => [`- ${code(written(one))}: ${one.doc}`]),
    "",
    "## Objects",
    "",
    ...main.flatMap(section),
    "## Options and records",
    "",
    ...shapes.flatMap(section),
    "## Other names",
    "",
    ...others.map((one) => {
      const how = isClass(one) ? "" : written(one);
      return `- **${one.name}**${how === "" ? "" : ` = ${code(how)}`}: ${one.doc}`;
    }),
    "",
    "What a bus answers over HTTP is in [http.md](http.md).",
  ];
  return `${lines.join("\n").trimEnd()}\n`;
}

if (import.meta.main) {
  mkdirSync(dirname(clientReferenceFile), { recursive: true });
  writeFileSync(clientReferenceFile, clientReference());
  console.log("docs/reference/client.md");
}
