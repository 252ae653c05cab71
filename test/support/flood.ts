/** Clients that send endless bodies, and a measurement of the server's memory. */
import { readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import type { Identity } from "../../src/client/crypto/identity.ts";
import type { Server } from "./executable.ts";
import { signedHeaders } from "./peer.ts";

const chunkBytes = 262_144;
const part = Buffer.alloc(chunkBytes, "x");
const chunk = Buffer.concat([Buffer.from(`${chunkBytes.toString(16)}\r\n`), part, Buffer.from("\r\n")]);

/** How much each client would send if the server let it. */
export const bytesEach = 400 * 1_048_576;

/** Returns the memory of a process in bytes: now, or its peak since `growth` began. */
function memory({ pid }: Pick<Server, "pid">, field: "VmRSS" | "VmHWM"): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(status)?.[1]) * 1_024;
}

/** Returns the peak growth of a process's memory while `work` runs, in bytes. */
export async function growth(server: Pick<Server, "pid">, work: () => Promise<unknown>): Promise<number> {
  // Resets the peak.
  writeFileSync(`/proc/${server.pid}/clear_refs`, "5");
  const before = memory(server, "VmRSS");
  await work();
  return memory(server, "VmHWM") - before;
}

/** Returns the header lines of a valid signature for an empty body. */
export function signatureLines(server: Server, user: Identity, target: string): string[] {
  const headers = signedHeaders(user, { url: server.ready.http, method: "POST", target });
  return Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
}

/** The result of one client: the status, or "" if the connection was cut first, and the bytes that the server took. */
export interface Poured {
  readonly status: string;
  readonly sent: number;
}

/** Sends a body until the server hangs up: chunked, or unencoded if a length is declared. */
export async function pour(
  server: Server,
  {
    target,
    lines,
    declared,
  }: { readonly target: string; readonly lines: readonly string[]; readonly declared?: boolean },
): Promise<Poured> {
  const { hostname, port, host } = new URL(server.ready.http);
  const socket = connect(Number(port), hostname);
  const ended = Promise.withResolvers<void>();
  let reply = "";
  socket.on("data", (bytes) => {
    reply += bytes.toString();
  });
  socket.on("error", () => undefined);
  socket.on("close", () => ended.resolve());
  const size = declared ? `Content-Length: ${bytesEach}` : "Transfer-Encoding: chunked";
  socket.write(`${[`POST ${target} HTTP/1.1`, `Host: ${host}`, size, ...lines].join("\r\n")}\r\n\r\n`);
  let sent = 0;
  while (sent < bytesEach && !socket.destroyed) {
    sent += chunkBytes;
    if (socket.write(declared ? part : chunk)) continue;
    await Promise.race([new Promise((resolve) => socket.once("drain", resolve)), ended.promise]);
  }
  socket.destroy();
  await ended.promise;
  return { status: reply.slice(9, 12), sent };
}

/** Runs many such clients at once. */
export function flood(
  server: Server,
  senders: number,
  lines: () => readonly string[],
  target = "/rooms",
): Promise<Poured[]> {
  return Promise.all(Array.from({ length: senders }, () => pour(server, { target, lines: lines() })));
}
