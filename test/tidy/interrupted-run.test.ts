/** A script of `scripts` that is interrupted leaves no process behind: not its children, nor what those started. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Folder, isAlive, textIn, until } from "../support/executable.ts";

const root = join(import.meta.dir, "..", "..");
const signals = { SIGINT: 130, SIGTERM: 143 } as const;

let folder: Folder;
beforeAll(() => {
  folder = new Folder();
});
afterAll(() => folder[Symbol.dispose]());

const start = (...command: readonly string[]) =>
  Bun.spawn([process.execPath, ...command], { cwd: root, stdio: ["ignore", "ignore", "inherit"] });

/** Starts a script that runs a shell program, which writes its process ids, one per line. Returns both. */
async function running(name: string, program: string) {
  const written = folder.file(`${name}.pids`);
  const file = folder.file(`${name}.ts`);
  const command = ["bash", "-c", program.replaceAll("PIDS", written)];
  const module = JSON.stringify(join(root, "scripts", "sessions.ts"));
  writeFileSync(
    file,
    `import { endSessionsOnSignals, runInSession } from ${module};
    endSessionsOnSignals(500);
    await runInSession(${JSON.stringify(command)}, { cwd: ".", env: process.env });
    process.exit(1);`,
  );
  const script = start(file);
  await until("the program runs", () => textIn(written)?.endsWith("end\n") === true);
  const pids = readFileSync(written, "utf8").split("\n").map(Number).filter(Boolean);
  expect([pids.length, pids.every(isAlive)]).toEqual([2, true]);
  return { script, pids };
}

describe.each(Object.entries(signals))("%s", (signal, code) => {
  test("ends a script's child, and its halted grandchild in a process group of its own, and exits with the signal's code", async () => {
    const program = "set -m; sleep 600 & kill -STOP $!; printf '%s\\n%s\\nend\\n' $$ $! > PIDS; sleep 600";
    const { script, pids } = await running(`halted-${signal}`, program);
    script.kill(signal as keyof typeof signals);
    expect(await script.exited).toBe(code);
    expect(pids.filter(isAlive)).toEqual([]);
  });

  test("kills a child and a grandchild that ignore it, after a while", async () => {
    const program = "trap '' TERM; sleep 600 & printf '%s\\n%s\\nend\\n' $$ $! > PIDS; while :; do wait; done";
    const { script, pids } = await running(`stubborn-${signal}`, program);
    script.kill(signal as keyof typeof signals);
    expect(await script.exited).toBe(code);
    expect(pids.filter(isAlive)).toEqual([]);
  });
});

test("`npm test` that is ended by SIGTERM ends what it runs", async () => {
  const script = start("scripts/test.ts", "--quick");
  const children = () => (textIn(`/proc/${script.pid}/task/${script.pid}/children`) ?? "").trim().split(" ");
  await until("it runs types and lint", () => children().filter(Boolean).length >= 2);
  const pids = children().map(Number);
  script.kill("SIGTERM");
  expect(await script.exited).toBe(143);
  expect(pids.filter(isAlive)).toEqual([]);
});
