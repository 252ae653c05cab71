/** Joins users by a link: with the executable, as a new user does, or over plain HTTP, as a tool does. */
import { readFileSync, writeFileSync } from "node:fs";
import { type Identity, identityText, parseIdentity } from "../../src/client/crypto/identity.ts";
import { type Done, type Folder, type Server, unibus } from "./executable.ts";
import { addUser, call, type Reply, send } from "./peer.ts";

/** Reads an identity file that the executable wrote. */
export function identityAt(folder: Folder, file: string): Promise<Identity> {
  return parseIdentity(readFileSync(folder.file(file), "utf8"));
}

/** Returns the token of a join link. */
export function tokenOf(link: string): string {
  return link.split("#")[1] ?? "";
}

/** Returns the first admin's link, as the server stored it. */
export function adminLink(server: Server): string {
  return readFileSync(server.folder.file("data", "admin-link"), "utf8").trim();
}

/** Runs `unibus join` with its own identity file. Shape: stdout is JSON, an error on stderr is human-readable. */
export async function join(folder: Folder, link: string, file: string): Promise<Done> {
  const done = await unibus(folder, ["join", link, "--identity", folder.file(file), "--json"]);
  const stderr = done.stderr.replace(/^\{"error":.*\}$/m, (line) => `error: ${JSON.parse(line).error}`);
  return { ...done, stderr };
}

/** Joins the first admin by the command `join`, which also remembers the bus. Its identity file is `admin.json`. */
export async function firstAdminByCommand(server: Server): Promise<Identity> {
  const done = await join(server.folder, adminLink(server), "admin.json");
  if (done.code !== 0) throw new Error(`join: ${done.stderr}`);
  return identityAt(server.folder, "admin.json");
}

/** Joins the first admin over HTTP, by the link that the server stored. Its identity file is `admin.json`. */
export async function firstAdmin(server: Server): Promise<Identity> {
  const admin = await addUser(server, "admin", { admin: true });
  writeFileSync(server.folder.file("admin.json"), identityText(admin), { mode: 0o600 });
  return admin;
}

/** Sends POST /register. */
export function register(base: string, token: string, identity: Identity): Promise<Reply> {
  const { signPubHex: sign_pub, kexPubHex: kex_pub, kexSig: kex_sig } = identity;
  const body = JSON.stringify({ token, sign_pub, kex_pub, kex_sig });
  return send(`${base}/register`, { method: "POST", body });
}

/** Sends POST /invites. Throws unless the answer is 201. */
export async function invite(
  server: Server,
  admin: Identity,
  body: { readonly handle: string; readonly role?: "admin" | "member"; readonly ttl_s?: number },
): Promise<{ id: string; token: string; expires_at: string; link: string }> {
  const reply = await call(server.ready.http, admin, "POST", "/invites", body);
  if (reply.status !== 201) throw new Error(`POST /invites: ${reply.status} ${reply.text}`);
  return reply.json as Awaited<ReturnType<typeof invite>>;
}

/** Returns the handles in the directory, sorted. */
export async function handles(server: Server, reader: Identity): Promise<string[]> {
  const { json } = await call(server.ready.http, reader, "GET", "/directory");
  return (json.members as { handle: string }[]).map(({ handle }) => handle).sort();
}
