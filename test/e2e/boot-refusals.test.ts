/**
 * Boots that `serve` refuses: ports, addresses, data directories, disks, damaged state, nats-server binaries, insecure
 * settings, and wrong configuration. Each refusal names the cause and the fix in one line.
 */
import { describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { executable, Folder, unibus, until } from "../support/executable.ts";
import { isAnyLeft, refusal, serve } from "./refusal.ts";

describe("a port in use is refused, with the setting, the port and the fix:", () => {
  test.each([
    ["--http", "http.listen"],
    ["--nats", "nats-embedded.listen"],
    ["--ws", "nats-embedded.ws"],
  ])("%s", async (option, setting) => {
    using folder = new Folder();
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
    const bound = other.address();
    const address = `127.0.0.1:${typeof bound === "object" ? bound?.port : ""}`;
    try {
      const hint = `choose another with ${option} HOST:PORT`;
      expect(await refusal(folder, [option, address])).toBe(
        `error: ${setting} ${address}: the address is in use (${hint})`,
      );
    } finally {
      other.close();
    }
  });
});

describe("an address that cannot be bound is refused:", () => {
  test.each([
    ["--http", "198.51.100.1:0", "error: http.listen 198.51.100.1:0: cannot bind the address (choose another with"],
    ["--nats", "198.51.100.1:0", "error: nats-embedded.listen 198.51.100.1:0: the address cannot be bound (choose an"],
    ["--ws", "198.51.100.1:0", "error: nats-embedded.ws 198.51.100.1:0: cannot bind the address (choose another w"],
    ["--nats", "no-host.invalid:0", "error: nats-embedded.listen no-host.invalid:0: the address cannot be bound (cho"],
    ["--http", "here", "error: http.listen: here is not an address (for example "],
    ["--nats", "here", "error: nats-embedded.listen: here is not an address (for example "],
    ["--ws", "127.0.0.1:65536", "error: nats-embedded.ws: 127.0.0.1:65536 is not an address (for example "],
  ])("%s %s", async (option, address, message) => {
    using folder = new Folder();
    expect(await refusal(folder, ["--set", "http.allow_cleartext=true", option, address])).toStartWith(message);
  });
});

describe("an unusable data directory is refused:", () => {
  const elsewhere = "(choose another with --data)";
  const cases: readonly (readonly [string, (folder: Folder) => string, string])[] = [
    [
      "a file",
      (folder) => {
        writeFileSync(folder.file("file"), "");
        return "file";
      },
      `/file: it cannot be written ${elsewhere}`,
    ],
    [
      "a folder below a file",
      (folder) => {
        writeFileSync(folder.file("file"), "");
        return "file/data";
      },
      `/file/data: it cannot be written ${elsewhere}`,
    ],
    [
      "a folder that cannot be created",
      () => "/proc/unibus",
      `data directory /proc/unibus: it cannot be written ${elsewhere}`,
    ],
    ["a folder that is not writable", () => "/proc/self", `/proc/self: it cannot be written ${elsewhere}`],
    [
      "a folder in which the lock cannot be created",
      () => "/sys",
      `error: data directory /sys: it cannot be written ${elsewhere}`,
    ],
  ];
  test.each(cases)("%s", async (_, prepare, message) => {
    using folder = new Folder();
    expect(await refusal(folder, ["--data", prepare(folder)])).toEndWith(message);
  });
});

/** Ways to simulate a full disk, each a shell prefix; includes a small file system where mounting is permitted. */
function fullDisks(): (readonly [string, string, RegExp])[] {
  const mounted = (size: string) => `mount -t tmpfs -o size=${size} tmpfs data && exec "$@"`;
  using folder = new Folder();
  mkdirSync(folder.file("data"));
  const tried = Bun.spawnSync(["unshare", "-rm", "sh", "-c", mounted("64k"), "sh", "true"], { cwd: folder.path });
  const full = /^error: .+ the disk is full \(free some space, or choose another with --data\)$/;
  const limit = /^error: .+: the limit of the file size is too low \(see ulimit -f, or choose another with --data\)$/;
  const limited: (readonly [string, string, RegExp])[] = [
    ["a file size limit of 0 bytes", 'ulimit -f 0 && exec "$@"', /^error: data directory .+ \(.*--data\)$/],
    ["a file size limit of a few kilobytes", 'ulimit -f 64 && exec "$@"', limit],
  ];
  if (!tried.success) return limited;
  return [["one megabyte in total", mounted("1m"), full], ["one page in total", mounted("4k"), full], ...limited];
}

describe("a full disk is refused, with the data directory and the fix:", () => {
  test.each(fullDisks())("%s", async (_, shell, message) => {
    using folder = new Folder();
    mkdirSync(folder.file("data"));
    const isolated = shell.startsWith("mount") ? ["unshare", "-rm"] : [];
    const child = Bun.spawn([...isolated, "sh", "-c", shell, "sh", executable, ...serve], {
      cwd: folder.path,
      env: { PATH: process.env.PATH ?? "" },
      stdout: "ignore",
      stderr: "pipe",
    });
    const said = await new Response(child.stderr).text();
    expect(await child.exited).toBe(1);
    expect(said.trim().split("\n")).toHaveLength(1);
    expect(said.trim()).toMatch(message);
    expect(said).toContain(`data directory ${folder.file("data")}`);
    await until("no process is left running", () => !isAnyLeft(folder));
  });
});

describe("damaged state is refused, and left unchanged:", () => {
  test.each([
    [
      "unibus.db",
      "garbage, and more of it: ".repeat(400),
      "is corrupt or not an SQLite database (stop unibus and restore",
    ],
    ["unibus.db", "short garbage, no page", "is corrupt or not an SQLite database (stop unibus and restore a"],
    ["internal.json", "{", "is corrupt (restore it from a backup, or remove it to make a new one)"],
    ["internal.json", "", "is corrupt (restore it from a backup, or remove it to make a new one)"],
    ["internal.json", '{"issuer_seed":"AAAA","passwords":{}}', "is corrupt (restore it from a backup, or remove it to"],
  ])("%s: %j", async (name, text, message) => {
    using folder = new Folder();
    mkdirSync(folder.file("data"));
    const file = folder.file("data", name);
    writeFileSync(file, text);
    const line = await refusal(folder, []);
    expect(line).toStartWith(`error: ${file} ${message}`);
    expect(readFileSync(file, "utf8")).toBe(text);
  });
});

describe("an unusable nats-server is refused, with its version and the fix:", () => {
  const hint = "(use 2.12.7 or newer, or leave nats-embedded.binary out to use the built-in one)";
  const script = (said: string) => `#!/bin/sh\n${said}\n`;
  test.each([
    ["old", script("echo nats-server: v2.9.0"), 0o755, "is version 2.9.0"],
    ["barely too old", script("echo nats-server: v2.12.6"), 0o755, "is version 2.12.6"],
    ["silent", script("exit 3"), 0o755, "does not report a version"],
    ["no executable file", script("echo nats-server: v2.15.1"), 0o644, "is not executable"],
    ["not a program", "\u0000\u0001\u0002", 0o755, "is not executable"],
    ["absent", null, 0, "does not exist"],
  ])("%s", async (_, text, mode, what) => {
    using folder = new Folder();
    const file = folder.file("nats-server");
    if (text !== null) writeFileSync(file, text, { mode });
    const line = await refusal(folder, ["--set", `nats-embedded.binary=${file}`]);
    expect(line).toBe(`error: nats-server ${file} ${what} ${hint}`);
    expect(await refusal(folder, [], { UNIBUS_NATS_SERVER: file })).toBe(line);
  });

  test.each([
    ["no luck today", "check the settings of nats-embedded"],
    ["write /data/x: no space left on device", "free some space on the disk"],
  ])("a new nats-server that ends is reported with its last log line: %s", async (words, what) => {
    using folder = new Folder();
    const text = script(`test "$1" = --version && exec echo nats-server: v9.9.9; echo "${words}" >&2; exit 1`);
    writeFileSync(folder.file("nats-server"), text, { mode: 0o755 });
    const line = await refusal(folder, ["--set", `nats-embedded.binary=${folder.file("nats-server")}`]);
    expect(line).toBe(`error: nats-server did not start: ${words} (${what})`);
  });
});

describe("an unprotected server is refused, with the setting:", () => {
  const everywhere = ["--http", "0.0.0.0:0"];
  test.each([
    [
      "off",
      ["--set", "http.allow_cleartext=true", "--set", "auth.mode=off"],
      "error: auth.mode: off is not allowed on a public address",
    ],
    [
      "soft",
      ["--set", "http.allow_cleartext=true", "--set", "auth.mode=soft"],
      "error: auth.mode: soft is not allowed on a public",
    ],
    ["off, no TLS", ["--set", "auth.mode=off"], "error: "],
    ["no TLS", [], "error: http.listen 0.0.0.0: a public address needs TLS (set --tls-cert and --tls-key, or http."],
  ])("%s", async (_, args, message) => {
    using folder = new Folder();
    expect(await refusal(folder, [...everywhere, ...args])).toStartWith(message);
  });

  const cleartext = ["--set", "http.allow_cleartext=true"];
  test.each(["--nats", "--ws"].flatMap((option) => ["off", "soft"].map((mode) => [option, mode] as const)))(
    "%s on a public address with auth.mode=%s",
    async (option, mode) => {
      using folder = new Folder();
      const setting = option === "--nats" ? "nats-embedded.listen" : "nats-embedded.ws";
      for (const address of ["0.0.0.0:0", "[::]:0"]) {
        const host = address.slice(0, -2);
        const what = `a public address needs auth.mode=enforce, not ${mode}`;
        const args = [option, address, ...cleartext, "--set", `auth.mode=${mode}`];
        expect(await refusal(folder, args)).toBe(
          `error: ${setting} ${host.replace(/[[\]]/g, "")}: ${what} (set auth.mode, or listen on 127.0.0.1)`,
        );
      }
    },
  );
});

describe("an invalid configuration is refused, with the file or option and the fix:", () => {
  test.each([
    [["--flag", "big=on"], "error: --flag: unknown flag big (flags of built-in plugins.json: "],
    [["--set", "nope.key=1"], "error: --set: no active plugin nope (choose one of http, nats-embedded, "],
    [["--set", "auth.key=1"], "error: built-in plugins.json, plugin auth: unknown key key (known keys: mode, "],
    [
      ["--set", "auth.mode=loose"],
      "error: built-in plugins.json, plugin auth: mode: expected one of enforce, soft, off (",
    ],
    [["--set", "http.rate=fast"], "error: built-in plugins.json, http: rate: expected number (requests per second for"],
    [["--set", "nats-embedded.namespaces=[1]"], "error: built-in plugins.json, plugin nats-embedded: namespaces.0: "],
    [
      ["--public-url", "bus"],
      "error: http.public_url: bus is not an http or https URL (for example https://bus.example.org)",
    ],
    [["--plugins", "gone.json"], "error: gone.json: it cannot be read (correct --plugins)"],
    [["--plugins", "."], "error: .: it cannot be read (correct --plugins)"],
    [["--tls-cert", "gone.pem"], "error: --tls-cert: gone.pem is not a readable PEM file (give both --tls-cert and"],
  ])("%j", async (args, message) => {
    using folder = new Folder();
    expect(await refusal(folder, args)).toStartWith(message);
  });
});

describe("an invalid command line exits with 2 and prints the error first:", () => {
  const data = ["serve", "--data", "data"];
  const cases: readonly (readonly [string[], Record<string, string>, string])[] = [
    [[], {}, "error: no command given"],
    [["nope"], {}, "error: unknown command 'nope'"],
    [["user"], {}, "error: no command given"],
    [["user", "nope"], {}, "error: unknown command 'nope'"],
    [[...data, "--nope"], {}, "error: unknown option '--nope'"],
    [[...data, "extra"], {}, "error: too many arguments for 'serve'"],
    [[...data, "--http"], {}, "error: option '--http <host:port>' argument missing"],
    [[...data, "--flag", "big"], {}, "error: option '--flag <name=on|off>' argument 'big' is invalid. Write NAME=on"],
    [[...data, "--flag", "big=maybe"], {}, "error: option '--flag <name=on|off>' argument 'big=maybe' is invalid."],
    [[...data, "--set", "auth"], {}, "error: option '--set <plugin.key=value>' argument 'auth' is invalid. Write PLU"],
    [[...data, "--log", "xml"], {}, "error: option '--log <format>' argument 'xml' is invalid. Allowed choices are"],
    [data, { UNIBUS_LOG: "xml" }, "error: option '--log <format>' value 'xml' from env 'UNIBUS_LOG' is invalid."],
    [data, { UNIBUS_FLAGS: "a=on,b" }, "error: option '--flag' value 'b' from env 'UNIBUS_FLAGS' is invalid. Write "],
    [data, { UNIBUS_SET: "auth.mode=off\nx" }, "error: option '--set' value 'x' from env 'UNIBUS_SET' is invalid. W"],
    [["user", "add", "ana"], {}, "error: name the key by --identity FILE or by --sign-pub HEX (one of the two)"],
    [["invite", "new", "a\u200bb"], {}, 'error: handle "a\\u200bb" contains U+200B'],
    [
      ["send", "room.x", "not", "quoted"],
      {},
      "error: too many arguments for 'send': 3 instead of 2 (remove some, or put",
    ],
  ];
  test.each(cases)("%j %j", async (args, env, message) => {
    using folder = new Folder();
    const done = await unibus(folder, args, { env });
    expect(done.stderr).toStartWith(message);
    expect(done.stderr.match(/error:/g)).toHaveLength(1);
    expect([done.code, done.stdout]).toEqual([2, ""]);
    expect(done.stderr).not.toContain("    at ");
    expect(readdirSync(folder.path)).toEqual([]);
  });

  test("help is not an error: exit 0, on stdout", async () => {
    using folder = new Folder();
    for (const args of [["--help"], ["serve", "--help"], ["user", "--help"], ["user", "add", "--help"]]) {
      const done = await unibus(folder, args);
      expect([done.code, done.stderr]).toEqual([0, ""]);
      expect(done.stdout).toStartWith("Usage: unibus");
    }
  });
});
