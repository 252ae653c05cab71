/**
 * A plugin route with a misspelt access must not be open to everyone: the server refuses to start.
 * Source: docs/threat-model.md.
 */
import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { refusal } from "../e2e/refusal.ts";
import { Folder } from "../support/executable.ts";

test.each([
  ['"Admin"', '"Admin"'],
  ['"adminn"', '"adminn"'],
  ['"ADMIN"', '"ADMIN"'],
  ['" admin"', '" admin"'],
  ["undefined", "missing"],
  ["null", "null"],
  ["true", "true"],
  ['["admin"]', '["admin"]'],
  ["{ toString: () => 'admin' }", "{}"],
])(
  "access: %s",
  async (access, shown) => {
    using folder = new Folder();
    // Without `defineRoute` and `route`, as plain JavaScript would write it, and with them, as a type cast would allow.
    const spec = `{ method: "GET", path: "/own/secrets", access: ${access} as never, summary: "Secrets." }`;
    for (const [declared, bound] of [
      [spec, "{ spec, handle }"],
      [`defineRoute(${spec})`, "route(spec, handle)"],
    ]) {
      writeFileSync(
        folder.file("own.ts"),
        `import { definePlugin, defineRoute, rawReply, route, Type } from "unibus/plugin";
       const handle = async () => rawReply("secret");
       const spec = ${declared};
       export default definePlugin({ name: "own", api: 1, config: Type.Object({}), routes: [spec], setup: async () => ({
         services: {}, routes: [${bound}] }) } as never);`,
      );
      const what = `plugin own: route GET /own/secrets: access is ${shown}`;
      expect(await refusal(folder, ["--plugin", "own.ts"])).toBe(
        `error: built-in plugins.json: ${what} (wanted: one of public, signed, admin)`,
      );
    }
  },
  60_000,
);
