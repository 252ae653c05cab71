/** `bun run check`: the quick checks, in under a minute: types, lint, tidy and unit tests. */
process.argv.push("--quick");
await import("./test.ts");

export {};
