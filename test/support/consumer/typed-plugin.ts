/** What a plugin author writes, and what every supported TypeScript compiler must refuse. */
import { Auth, Bytes, definePlugin, defineRoute, rawReply, route, Type, token, UnibusError } from "unibus/plugin";

interface Audit {
  note(what: string): Promise<void>;
}
const Audit = token<Audit>("acme.audit");
const Notes = token<{ readonly count: number }>("acme.notes");

const params = Type.Object({ id: Type.String(), n: Type.Integer() });
const query = Type.Object({ after: Type.Optional(Type.String()) });
const body = Type.Object({
  words: Type.Array(Type.String()),
  mode: Type.Union([Type.Literal("a"), Type.Literal("b")]),
});
const reply = Type.Object({ by: Type.String(), words: Type.Array(Type.String()) });

const write = defineRoute({
  method: "POST",
  path: "/acme/:id/:n",
  access: "signed",
  summary: "Writes.",
  params,
  query,
  body,
  reply,
  status: 201,
  errors: ["conflict"],
});
const page = defineRoute({ method: "GET", path: "/acme", access: "public", summary: "A page." });
const forget = defineRoute({ method: "DELETE", path: "/acme", access: "admin", summary: "Forgets." });
const upload = defineRoute({
  method: "POST",
  path: "/acme",
  access: "signed",
  summary: "Takes bytes.",
  body: Bytes,
  stream: true,
});
const routes = [
  route(write, async ({ params: { id, n }, query: { after }, caller, signal, read }) => {
    const { words, mode } = await read();
    const text: string = id + n.toFixed() + (after ?? "") + mode;
    if (signal.aborted || mode === "b") throw new UnibusError("conflict", `${text} is taken (choose another)`);
    return { by: caller.handle, words };
  }),
  route(page, async () => rawReply("<p>")),
  route(forget, async () => undefined),
  route(upload, async ({ stream }) => {
    for await (const chunk of stream) if (chunk.byteLength > 9) return undefined;
    return undefined;
  }),
];

export default definePlugin({
  name: "acme.notes",
  api: 1,
  config: Type.Object({ limit: Type.Optional(Type.Integer()) }, { additionalProperties: false }),
  provides: { notes: Notes },
  requires: { auth: Auth },
  optional: { audit: Audit },
  routes: [write, page, forget, upload],
  async setup({ config, log, onStop }, { auth, audit }) {
    const limit: number = config.limit ?? 10;
    onStop(() => log.info("done", { limit, mode: auth.mode }));
    await audit?.note("set up");
    // @ts-expect-error: an optional service may be missing.
    audit.note("unchecked");
    // @ts-expect-error: the schema has no such key.
    config.speed;
    return { services: { notes: { count: limit } }, routes };
  },
});

// @ts-expect-error: this access does not exist.
defineRoute({ method: "GET", path: "/acme", access: "Admin", summary: "Wrong." });
// @ts-expect-error: a public route has no caller.
route(page, async ({ caller }) => void caller);
// @ts-expect-error: a route without a body has nothing to read.
route(forget, async ({ read }) => void read);
// @ts-expect-error: the reply has another shape.
route(write, async () => ({ by: 1, words: [] }));
const silent = async () => ({ services: {} });
// @ts-expect-error: the promised service is not returned.
definePlugin({ name: "x", api: 1, config: Type.Object({}), provides: { n: Notes }, setup: silent });
