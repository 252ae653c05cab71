/** The commands to race, each as one request to one node. A command raced with itself is sent twice. */
import type { Identity } from "../../../src/client/crypto/identity.ts";
import { register } from "../accounts.ts";
import { addBody, at, createBody, kickBody, newRoom, policy, roleBody } from "../peer.ts";
import type { Outcome, Scene } from "./scene.ts";

/** How long a publish waits for its ack, in milliseconds: without permission to publish no ack arrives. */
const ackMs = 1_000;

/** Names of the commands, in the order of the matrix. */
export const commandNames = [
  ...(["create", "add", "kick", "leave", "rekey", "role", "delete", "accept", "revoke user", "delete user"] as const),
  ...(["restore user", "put durable", "remove durable", "history", "publish", "erase", "redeem", "cancel"] as const),
] as const;

/** The name of a command. */
export type CommandName = (typeof commandNames)[number];

interface Sent {
  readonly node: number;
  readonly other: CommandName;
}

type Command = (scene: Scene, sent: Sent) => Promise<Outcome>;

interface Request {
  readonly who: Identity;
  readonly method: string;
  readonly target: string;
  readonly body?: unknown;
}

const request =
  (make: (scene: Scene, other: CommandName) => Request): Command =>
  async (scene, { node, other }) => {
    const { who, method, target, body } = make(scene, other);
    const { status, json } = await scene.call(who, method, target, body, node);
    return { status, code: `${json.code ?? ""} ${json.error ?? ""}`.trim() };
  };

/** Returns the user whom a command is about, who is revoked if it races with a revocation. */
export function subjectOf(command: CommandName, { candidate, newcomer, member }: Scene): Identity {
  if (command === "create" || command === "add") return candidate;
  return command === "redeem" ? newcomer : member;
}

/** Whether `restore user` finds a user whom the other command revokes, or has yet to create. */
export function mayRestore(pair: readonly CommandName[]): boolean {
  return pair.includes("revoke user") || pair.includes("redeem");
}

/** Whether the user whom `restore user` is about is revoked before the race. */
export function startsRevoked(pair: readonly CommandName[]): boolean {
  if (!pair.includes("restore user")) return false;
  const beside: readonly CommandName[] = ["create", "add", "kick", "rekey", "role", "delete", "delete user"];
  return pair.every((command) => command === "restore user" || beside.includes(command));
}

/** The user whom `restore user` is about. */
export function restoredIn(scene: Scene): Identity {
  return subjectOf(scene.pair.find((command) => command !== "restore user") ?? "restore user", scene);
}

const aboutUser = (method: string, part: string) =>
  request((scene, other) => {
    const { signPubHex } = subjectOf(other, scene);
    return { who: scene.stage.admin, method, target: `/users/${signPubHex}${part}` };
  });

const create: Command = async (scene, { node, other }) => {
  const { candidate, room, freeSubject } = scene;
  const subject = other === "delete" ? room.state.subject : freeSubject;
  const next = newRoom(candidate, subject, policy("persist"));
  const { status, json } = await scene.call(candidate, "POST", "/rooms", createBody(next), node);
  const outcome = { status, code: String(json.code ?? "") };
  scene.attempts.push({ room: next, outcome });
  return outcome;
};

const publish: Command = async (scene) => {
  try {
    await scene.connection.request(scene.room.state.subject, "raced", { timeout: ackMs });
    return { status: 200, code: "" };
  } catch (error) {
    return { status: 403, code: (error as { code?: string }).code ?? String(error) };
  }
};

/** What each command sends. */
export const commands: Readonly<Record<CommandName, Command>> = {
  create,
  add: request(({ owner, room, candidate }) => {
    return { who: owner, method: "POST", target: at(room, "/members"), body: addBody(room, candidate).body };
  }),
  kick: request(({ owner, room, member }) => {
    const { body } = kickBody(room, [member], [owner]);
    return { who: owner, method: "DELETE", target: at(room, `/members/${member.endpoint}`), body };
  }),
  leave: request(({ room, member }) => {
    return { who: member, method: "DELETE", target: at(room, `/members/${member.endpoint}`) };
  }),
  rekey: request(({ owner, room, member }) => {
    return { who: owner, method: "POST", target: at(room, "/rekey"), body: kickBody(room, [], [owner, member]).body };
  }),
  role: request(({ owner, room, member }) => {
    const { body } = roleBody(room, member, "owner");
    return { who: owner, method: "PUT", target: at(room, `/members/${member.endpoint}/role`), body };
  }),
  delete: request(({ owner, room }) => ({ who: owner, method: "DELETE", target: at(room) })),
  accept: request(({ room, member }) => ({ who: member, method: "PUT", target: at(room, "/accept") })),
  "revoke user": aboutUser("POST", "/revoke"),
  "delete user": aboutUser("DELETE", ""),
  "restore user": aboutUser("POST", "/restore"),
  "put durable": request(({ room, member }) => ({ who: member, method: "PUT", target: at(room, "/durable") })),
  "remove durable": request(({ room, member }) => ({ who: member, method: "DELETE", target: at(room, "/durable") })),
  history: request(({ room, member }) => ({ who: member, method: "GET", target: at(room, "/history") })),
  publish,
  erase: request(({ room, member }) => ({ who: member, method: "DELETE", target: at(room, "/messages/1") })),
  async redeem(scene, { node }) {
    const { status, json } = await register(scene.url(node), scene.invite.token, scene.newcomer);
    return { status, code: String(json.code ?? "") };
  },
  cancel: request(({ stage, invite }) => ({ who: stage.admin, method: "DELETE", target: `/invites/${invite.id}` })),
};
