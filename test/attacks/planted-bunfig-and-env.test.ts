/**
 * A bunfig.toml, a .env and a plugins.json planted in the executable's working directory have no effect.
 * Source: docs/threat-model.md.
 */
import { expect, test } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import { Folder, Server, unibus } from "../support/executable.ts";
import { send } from "../support/peer.ts";

function plant(folder: Folder): void {
  const evil = folder.file("evil.ts");
  const mark = JSON.stringify(folder.file("evil-was-here"));
  writeFileSync(evil, `import { writeFileSync } from "node:fs";\nwriteFileSync(${mark}, "x");\n`);
  writeFileSync(folder.file("bunfig.toml"), `preload = ["./evil.ts"]\n[run]\npreload = ["./evil.ts"]\n`);
  writeFileSync(folder.file(".env"), "UNIBUS_DATA=./elsewhere\nUNIBUS_SET=auth.mode=off\nUNIBUS_HTTP=127.0.0.1:1\n");
  writeFileSync(folder.file("plugins.json"), JSON.stringify({ plugins: [{ use: "./evil.ts" }] }));
  writeFileSync(folder.file("tsconfig.json"), JSON.stringify({ compilerOptions: { paths: { "*": ["./evil.ts"] } } }));
  writeFileSync(folder.file("package.json"), JSON.stringify({ imports: { "#nats": "./evil.ts" }, type: "module" }));
}

test("planted configuration files have no effect on the server", async () => {
  using folder = new Folder();
  plant(folder);
  await using server = await Server.start({ folder });
  expect((await send(`${server.ready.http}/info`)).json.auth).toBe("enforce");
  expect((await send(`${server.ready.http}/directory`)).status).toBe(401);
  await server.end();
  expect(existsSync(folder.file("evil-was-here"))).toBe(false);
  expect(existsSync(folder.file("elsewhere"))).toBe(false);
}, 20_000);

test("planted configuration files have no effect on a command", async () => {
  using folder = new Folder();
  plant(folder);
  const done = await unibus(folder, ["plan", "--json", "--data", folder.file("data")]);
  expect(done).toMatchObject({ code: 0, stderr: "" });
  expect(done.stdout).not.toContain("evil");
  expect(existsSync(folder.file("evil-was-here"))).toBe(false);
  expect(existsSync(folder.file("elsewhere"))).toBe(false);
});

test("an explicit setting takes effect", async () => {
  using folder = new Folder();
  await using server = await Server.start({ folder, env: { UNIBUS_SET: "auth.mode=off" } });
  expect((await send(`${server.ready.http}/info`)).json.auth).toBe("off");
}, 20_000);
