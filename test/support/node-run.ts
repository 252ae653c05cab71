/** Node, as a user has it: a test that needs it fails with an instruction if it is not installed. */

/** Returns the path of the node on PATH. Errors: if it is not installed, with what to install. */
export function nodePath(): string {
  const node = Bun.which("node");
  const version = node === null ? "" : Bun.spawnSync([node, "--version"]).stdout.toString().trim();
  if (node !== null && Number(/^v(\d+)\./.exec(version)?.[1]) >= 20) return node;
  throw new Error(`node is ${version || "not on PATH"}: install Node 20 or newer`);
}
