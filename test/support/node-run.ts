/** Node, as a user has it: the tests that need it say so when it is not there. */

/** The node on PATH. Errors: one that says what to install. */
export function nodePath(): string {
  const node = Bun.which("node");
  const version = node === null ? "" : Bun.spawnSync([node, "--version"]).stdout.toString().trim();
  if (node !== null && Number(/^v(\d+)\./.exec(version)?.[1]) >= 20) return node;
  throw new Error(`node is ${version || "not on PATH"}: install Node 20 or newer`);
}
