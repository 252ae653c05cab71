/** A plugin route with a misspelt access must not be open to everyone: the server refuses to start. Source: spec 13. */
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
    // Without `route(...)`, as plain JavaScript would write it, and with it, as a type cast would allow.
    for (const made of [
      `{ method: "GET", path: "/own/secrets", access: ${access}, shape: { summary: "Secrets." }, handle }`,
      `route("GET", "/own/secrets", ${access} as never, { summary: "Secrets." }, handle)`,
    ]) {
      writeFileSync(
        folder.file("own.ts"),
        `import { definePlugin, rawReply, route, Type } from "unibus/plugin";
       const handle = async () => rawReply("secret");
       export default definePlugin({ name: "own", api: 1, config: Type.Object({}), setup: async () => ({
         services: {}, routes: [${made}] }) } as never);`,
      );
      const what = `plugin own: route GET /own/secrets: access is ${shown}`;
      expect(await refusal(folder, ["--plugin", "own.ts"])).toBe(
        `error: built-in plugins.json: ${what} (wanted: one of public, signed, admin)`,
      );
    }
  },
  60_000,
);
