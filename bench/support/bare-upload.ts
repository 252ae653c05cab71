/** A bare server that writes and syncs each body to a new file, and serves the last one: the baseline for blobs. */
import { mkdtempSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const folder = mkdtempSync(join(tmpdir(), "unibus-bare-"));
process.on("SIGTERM", () => {
  rmSync(folder, { recursive: true, force: true });
  process.exit(0);
});

let count = 0;
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  maxRequestBodySize: Number.MAX_SAFE_INTEGER,
  async fetch(request) {
    if (request.method === "GET") return new Response(Bun.file(join(folder, String(count))));
    const file = join(folder, String(count + 1));
    await Bun.write(file, new Response(request.body));
    const handle = await open(file, "r");
    await handle.sync();
    await handle.close();
    count += 1;
    return Response.json({});
  },
});
console.log(server.port);
