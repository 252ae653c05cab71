/** Every print function neutralizes text that could harm a terminal. */
import { describe, expect, test } from "bun:test";
import { join } from "node:path";

/** Text that colors, reverses, hides and forges a line, plus emoji and words that must not change. */
const evil = "\u001b[31mred\u009b2J\u202egpj\u2066.exe\u200b\u3164\ufe0f\u2028\u00ad\rnext";
const fine = "Gr\u00fc\u00dfe \u{1f468}\u200d\u{1f469}\u200d\u{1f467} \u2764\ufe0f \u0915\u094d\u200c\u0937";
const steering = /[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}\u200b\u3164\u00ad]/u;

/** The output of a program on both streams. */
async function printed(program: string): Promise<{ stdout: string; stderr: string }> {
  const file = join(import.meta.dir, "../../src/cli");
  const imports = `
    import * as print from "${file}/print.ts";
    import { painter } from "${file}/terminal-text.ts";
    const evil = ${JSON.stringify(evil)}, fine = ${JSON.stringify(fine)};
    ${program}
    await print.flushOut();`;
  const child = Bun.spawn([process.execPath, "-e", imports], { stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  expect([await child.exited, stdout === "" && stderr === ""]).toEqual([0, false]);
  return { stdout, stderr };
}

describe("text written by others cannot send escape sequences to a terminal:", () => {
  const ways = {
    printLine: "print.printLine(evil, fine);",
    "a painted piece": `
      process.stdout.isTTY = true;
      Object.assign(process.env, { NO_COLOR: "", TERM: "xterm" });
      print.printLine("a ", painter()(evil + fine, "red"));`,
    printRow: "print.printRow(evil, fine, evil);",
    printText: 'print.printText(evil + fine + "\\n");',
    printJson: "print.printJson({ [evil]: [evil, fine] });",
    printFields: "print.printFields({ handle: evil, fine });",
    "printFields as JSON": "print.printFields({ handle: evil, fine }, { json: true });",
    printNote: "print.printNote(evil + fine);",
    printError: 'print.printError("error: " + evil + fine + "\\n");',
    "printError as JSON": "print.printError({ error: evil, code: fine });",
  };
  test.each(Object.entries(ways))("%s", async (_, program) => {
    const { stdout, stderr } = await printed(program);
    const text = `${stdout}${stderr}`.replace("\x1b[31m", "").replace("\x1b[0m", "");
    expect(text.replace(/[\t\n]/g, "")).not.toMatch(steering);
    expect(text).toContain(fine);
    expect(text).toContain("red");
    expect(text.endsWith("\n")).toBe(true);
    const rows = text.split("\n").length - 1;
    expect(rows).toBe(_ === "printFields" ? 2 : 1);
  });

  test("JSON output reads back unchanged", async () => {
    const { stdout } = await printed("print.printJson({ evil, fine });");
    expect(JSON.parse(stdout)).toEqual({ evil, fine });
  });
});
