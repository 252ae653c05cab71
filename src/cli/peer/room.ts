/**
 * The command `room` with its subcommands: create, inspect and verify rooms, and change their members.
 * Commands that change a room open it with `openRoom`, which refuses an owner who could be mistaken for another user;
 * those that only inspect, or leave, delete and rekey, use `inspectRoom`, which warns. Adding, kicking, roles and
 * rekeys are statements that this peer signs as an owner.
 */
import { Argument, Option } from "commander";
import { fingerprintWords, modes, type Policy, type Room, type RoomRole, userFingerprint } from "../../client/index.ts";
import { keyLifetimeDefault } from "../../client/trust/key-age.ts";
import { UnibusError } from "../../wire/errors.ts";
import { subjectFault } from "../../wire/names.ts";
import { CliCommand } from "../cli-command.ts";
import { printDone, printFields, printJson, printNote, printTable } from "../print.ts";
import { approveOption, inspectRoom, openRoom, type RoomChoices, roomText } from "./open-room.ts";
import { asPeer, asReader, type Named, nameText, type PeerOptions, peerCommand, usersNamed } from "./peer.ts";
import { recoveryCommands } from "./room-recovery.ts";
import { policyText } from "./rooms.ts";

interface NewOptions extends PeerOptions {
  readonly mode?: keyof typeof modes;
  readonly encrypt?: boolean;
  readonly persist?: boolean;
  readonly sign?: boolean;
}

/** The policy from the options. Without options everything is on. */
function policyOf({ mode, encrypt, persist, sign }: NewOptions): Policy {
  const isSaid = [encrypt, persist, sign].some((one) => one === true);
  const base = modes[mode ?? (isSaid ? "nats" : "matrix")];
  return {
    encrypt: base.encrypt || encrypt === true,
    persist: base.persist || persist === true,
    sign_msgs: base.sign_msgs || sign === true,
  };
}

/** Describes a room from its signed state. */
function describe(room: Room) {
  const { roomId, subject, policy, epoch, version } = room.state.state;
  return { room_id: roomId, subject, policy, epoch, version };
}

/** The identity of a room, to tell it from a copy. */
function identityOf(room: Room) {
  return { trust: room.trust, fingerprint: fingerprintWords(room.fingerprint), link: room.link };
}

async function makeNew(subject: string, options: NewOptions): Promise<void> {
  await asPeer(options, async (bus, signal) => {
    const fault = subjectFault(subject, bus.info.namespaces);
    if (fault !== null)
      throw new UnibusError("invalid", `${JSON.stringify(subject)} is not a subject: ${fault} (for example room.team)`);
    const room = await bus.createRoom(subject, policyOf(options), signal);
    const { policy, ...fields } = { ...describe(room), ...identityOf(room) };
    await (options.json ? printJson({ ...fields, policy }) : printFields({ ...fields, policy: policyText(policy) }));
  });
}

/** Prints advice for an owner of the room. */
function advise(room: Room, me: string): void {
  const { members, subject } = room;
  const owners = members.filter(({ role }) => role === "owner");
  if (!owners.some(({ sign_pub }) => sign_pub === me)) return;
  if (members.some(({ left }) => left)) {
    printNote(
      `note: a member left ${subject}, and its key is still the same (change it: unibus room rekey ${subject})`,
    );
  }
  if (owners.length === 1 && members.length > 1) {
    const fix = `make another owner: unibus room role ${subject} WHO owner`;
    printNote(`note: you are the only owner of ${subject}: if your key is lost, it can never be changed (${fix})`);
  }
}

async function show(name: string, options: PeerOptions): Promise<void> {
  await asReader(options, async (bus, signal) => {
    const room = await inspectRoom(bus, name, signal);
    const { policy, ...fields } = describe(room);
    const mine = room.members.find(({ endpoint }) => endpoint === bus.identity.endpoint);
    const more = {
      role: mine?.role ?? "none",
      members: room.members.length,
      owners: room.state.owners.length,
      rekey_pending: room.members.some(({ left }) => left),
      ...identityOf(room),
    };
    if (options.json) return printJson({ ...fields, policy, ...more });
    printFields({ ...fields, policy: policyText(policy), ...more });
    advise(room, bus.identity.signPubHex);
  });
}

interface MembersOptions extends PeerOptions {
  readonly fingerprints?: boolean;
}

async function members(name: string, options: MembersOptions): Promise<void> {
  await asReader(options, async (bus, signal) => {
    const room = await inspectRoom(bus, name, signal);
    const rows = room.members.map(({ handle, role, endpoint, sign_pub, since, left }) => {
      const fingerprint = fingerprintWords(userFingerprint(sign_pub));
      return { handle, role, endpoint, sign_pub, fingerprint, since, left };
    });
    rows.sort((a, b) => (a.role === b.role ? (a.handle < b.handle ? -1 : 1) : a.role === "owner" ? -1 : 1));
    if (options.json) return printJson({ members: rows });
    const cells = rows.map(({ handle, role, endpoint, fingerprint, since, left }) => {
      const more = [...(options.fingerprints ? [fingerprint] : []), ...(left ? ["left"] : [])];
      return [handle, role, endpoint, `since epoch ${since}`, ...more];
    });
    const names = options.fingerprints ? ["FINGERPRINT", "STATE"] : ["STATE"];
    await printTable(["HANDLE", "ROLE", "ENDPOINT", "READS", ...names], cells);
  });
}

/** A user as `--json` prints one. */
const personOf = ({ handle, endpoint }: Named): Named => ({ handle, endpoint });

type WhoOptions = PeerOptions & RoomChoices & { readonly freshKey?: boolean };

async function add(name: string, who: readonly string[], options: WhoOptions): Promise<void> {
  await asPeer(options, async (bus, signal) => {
    const room = await openRoom(bus, name, signal, options);
    const users = await usersNamed(bus, who, { ...options, signal });
    const endpoints = users.map(({ endpoint }) => endpoint);
    const present = users.filter((user) =>
      room.members.some(({ endpoint, left }) => endpoint === user.endpoint && !left),
    );
    if (present.length > 0) {
      const what = `already in ${room.subject}: ${present.map(nameText).join(", ")}`;
      throw new UnibusError("conflict", `${what} (name only users who are not)`);
    }
    await room.membership.add(endpoints, { freshKey: options.freshKey, signal });
    const { id: room_id, subject } = room;
    await printDone(`added ${users.map(nameText).join(", ")}`, { room_id, subject, added: users }, options);
    advise(room, bus.identity.signPubHex);
  });
}

/**
 * Resolves members named by handle, sign_pub or endpoint. Handles are resolved by the directory, which detects a
 * changed handle; a member who is no longer a user is resolved from the signed state.
 */
async function membersNamed(room: Room, who: readonly string[], find: (who: string[]) => Promise<Named[]>) {
  const found: Named[] = [];
  for (const name of who) {
    const signed = room.members.find(({ endpoint, sign_pub }) => endpoint === name || sign_pub === name.toLowerCase());
    found.push(...(signed === undefined ? await find([name]) : [signed]));
  }
  return found;
}

async function kick(name: string, who: readonly string[], options: WhoOptions): Promise<void> {
  await asPeer(options, async (bus, signal) => {
    const room = await openRoom(bus, name, signal, options);
    const find = (one: string[]) => usersNamed(bus, one, { ...options, signal });
    for (const member of await membersNamed(room, who, find)) {
      await room.membership.kick(member.endpoint, signal);
      const { id: room_id, subject, epoch } = room;
      const note = `kicked ${nameText(member)}; ${subject} has a new key (epoch ${epoch})`;
      await printDone(note, { room_id, subject, kicked: personOf(member), epoch }, options);
    }
  });
}

async function setRole(name: string, who: string, role: RoomRole, options: WhoOptions): Promise<void> {
  await asPeer(options, async (bus, signal) => {
    const room = await openRoom(bus, name, signal, options);
    const find = (one: string[]) => usersNamed(bus, one, { ...options, signal });
    for (const member of await membersNamed(room, [who], find)) {
      await room.membership.setRole(member.endpoint, role, signal);
      const { id: room_id, subject } = room;
      const note = `${nameText(member)} is now ${role} of ${subject}`;
      await printDone(note, { room_id, subject, member: personOf(member), role }, options);
    }
  });
}

/** What a change of a whole room did: a note, and fields for `--json`. */
type Done = readonly [note: string, fields: object];

/** Runs a change of a whole room and prints its result. */
async function change(name: string, options: PeerOptions, work: (room: Room, signal: AbortSignal) => Promise<Done>) {
  await asPeer(options, async (bus, signal) => {
    const room = await inspectRoom(bus, name, signal);
    const { id: room_id, subject } = room;
    const [note, fields] = await work(room, signal);
    await printDone(note, { room_id, subject, ...fields }, options);
  });
}

/** Marks a room as verified with the words that another member reads out. Without words it prints them. */
async function verify(name: string, words: readonly string[], options: PeerOptions): Promise<void> {
  await asPeer(options, async (bus, signal) => {
    const room = await inspectRoom(bus, name, signal);
    if (words.length > 0) await room.verify(words.join(" "));
    const fields = { room_id: room.id, subject: room.subject, ...identityOf(room) };
    if (options.json) return printJson(fields);
    printFields(fields);
    if (room.trust === "unverified") {
      printNote(`compare the words with another member, then run: unibus room verify ${room.subject} WORDS`);
    }
  });
}

/** Accepts rooms that this peer was added to, after verifying each. */
async function accept(names: readonly string[], options: PeerOptions & RoomChoices): Promise<void> {
  await asPeer(options, async (bus, signal) => {
    for (const name of names) {
      const room = await openRoom(bus, name, signal, options);
      await bus.accept(room.id, signal);
      const { id: room_id, subject } = room;
      await printDone(`accepted ${subject}`, { room_id, subject, accepted: true }, options);
    }
  });
}

async function leave(room: Room, signal: AbortSignal): Promise<Done> {
  const { subject } = room;
  await room.leave(signal);
  return [`left ${subject}`, { left: true }];
}

async function remove(room: Room, signal: AbortSignal): Promise<Done> {
  const { subject, id } = room;
  await room.deleteRoom(signal);
  return [`deleted ${subject} (${id}) and all its messages`, { deleted: true }];
}

async function rekey(room: Room, signal: AbortSignal): Promise<Done> {
  await room.membership.rekey(signal);
  return [`${room.subject} has a new key (epoch ${room.epoch})`, { epoch: room.epoch }];
}

const { days: keyDays, messages: keyMessages } = keyLifetimeDefault;

const addHelp = `
A new member can read every message that is encrypted with the room's current key, including those from before they
were added; in an unencrypted room, every stored message. A room gets a new key at each kick, leave and rekey, and after
${keyDays} days or ${keyMessages.toLocaleString("en-US")} messages (UNIBUS_KEY_DAYS, UNIBUS_KEY_MESSAGES). Adding a former member always creates a new key.`;

/** The command `room new`, with the options for the policy. */
function newCommand(): CliCommand {
  return peerCommand(
    new CliCommand("new", {
      summary: "create a room that you own: encrypted, persisted and signed, unless options change that",
      example: "unibus room new room.team",
    }),
  )
    .argument("<subject>", "its name, for example room.team or proc.sensor.7")
    .addOption(
      new Option(
        "--mode <mode>",
        "matrix: everything on; nats: everything off (default: matrix, or nats with --encrypt, --persist or --sign)",
      ).choices(Object.keys(modes)),
    )
    .option("--encrypt", "encrypt messages")
    .option("--persist", "keep messages")
    .option("--sign", "sign every message")
    .option("--json", "print JSON")
    .action(makeNew);
}

/** The commands `room new|show|accept|verify|members|add|kick|leave|delete|rekey|role|repair|trust`. */
export function roomCommand(): CliCommand {
  const command = new CliCommand("room", {
    summary: "create a room, show it, and change its members",
    example: "unibus room new room.team",
  }).addCommand(newCommand());
  const on = (name: string, summary: string, more = "") =>
    peerCommand(command.sub(name, { summary, example: `unibus room ${name} room.team${more}` })).argument(
      "<room>",
      roomText,
    );
  const whoText = "handle, sign_pub or endpoint; an endpoint that begins with - goes after --";
  on("show", "show a room as its owners signed it").option("--json", "print JSON").action(show);
  peerCommand(
    command.sub("accept", {
      summary: "accept rooms that you were added to; sending, following and waiting also accept a room",
      example: "unibus room accept room.team",
    }),
  )
    .argument("<room...>", roomText)
    .addOption(approveOption())
    .option("--json", "print one JSON object per line")
    .action(accept);
  on(
    "verify",
    "mark a room as verified by the 8 words or the link that another member has; without them, print them",
    " legal winner thank year wave sausage worth useful",
  )
    .argument("[words...]", "what the other member sees in unibus room show")
    .option("--json", "print JSON")
    .action(verify);
  on("members", "list the members of a room", " --fingerprints")
    .option("--fingerprints", "print the 8 words of each member, to compare with unibus whoami")
    .option("--json", "print JSON")
    .action(members);
  on(
    "add",
    "add members; without --fresh-key they can read all messages since the current key began",
    " bob --fresh-key",
  )
    .argument("<who...>", whoText)
    .option("--fresh-key", "create a new key first, so that they can read only messages from now on")
    .addOption(approveOption())
    .addHelpText("after", addHelp)
    .option("--json", "print JSON")
    .action(add);
  on("kick", "remove members, and give the others a new key", " bob")
    .argument("<who...>", whoText)
    .addOption(approveOption())
    .option("--json", "print one JSON object per line")
    .action(kick);
  on("leave", "leave a room")
    .option("--json", "print JSON")
    .action((name: string, options: PeerOptions) => change(name, options, leave));
  on("delete", "delete a room and all its messages, permanently")
    .option("--json", "print JSON")
    .action((name: string, options: PeerOptions) => change(name, options, remove));
  on("rekey", "give a room a new key, and sign out members who left")
    .option("--json", "print JSON")
    .action((name: string, options: PeerOptions) => change(name, options, rekey));
  on("role", "change a member to an owner, or an owner to a member", " bob owner")
    .argument("<who>", whoText)
    .addArgument(new Argument("<role>", "the new role").choices(["owner", "member"]))
    .addOption(approveOption())
    .option("--json", "print JSON")
    .action(setRole);
  for (const recovery of recoveryCommands()) command.addCommand(recovery);
  return command;
}
