/**
 * The subjects that cross from the account BUS to the account of the users: the only connection between the two. This
 * is a security rule, because any other subject would break the isolation of rooms. nats-embedded configures its server
 * by it, and nats-external refuses servers that differ from it.
 */
import { deliverRoot } from "../wire/names.ts";
import { peerAccount } from "./accounts.ts";

/** One subject that an account exports or imports. */
export interface Crossing {
  readonly type: "service" | "stream";
  readonly subject: string;
}

/**
 * The exports of BUS, which are also the imports of PEERS; there are no others. Exports are always wildcards: a literal
 * subject would break the isolation of the reply subject. `namespaces`: the first tokens of rooms' subjects.
 * Source: docs/protocol/logins.md.
 */
export function crossings(namespaces: readonly string[]): readonly Crossing[] {
  const services = [...namespaces.map((namespace) => `${namespace}.>`), "$JS.ACK.>"];
  const streams = [`${deliverRoot}.>`, "unibus.user.>"];
  return [
    ...services.map((subject): Crossing => ({ type: "service", subject })),
    ...streams.map((subject): Crossing => ({ type: "stream", subject })),
  ];
}

/** An export or import as nats-server reports it. */
export interface ReportedCrossing {
  readonly type: string;
  readonly subject: string;
  /** The account that a subject is imported from. */
  readonly account?: string;
}

/** What is wrong with the crossings of a server, and how to fix it. */
export interface CrossingFault {
  readonly what: string;
  readonly hint: string;
}

const textOf = ({ type, subject }: ReportedCrossing): string => `${type} ${subject}`;

/** Compares the exports of BUS and the imports of PEERS with the rule. Returns the first difference, or null. */
export function crossingFault(
  exports: readonly ReportedCrossing[],
  imports: readonly ReportedCrossing[],
  namespaces: readonly string[],
): CrossingFault | null {
  const wanted = crossings(namespaces).map(textOf);
  const exported = exports.map(textOf);
  const imported = imports.filter(({ account }) => account === "BUS").map(textOf);
  for (const crossing of wanted) {
    if (!exported.includes(crossing)) {
      return { what: `BUS does not export ${crossing}`, hint: `export it to ${peerAccount}` };
    }
    if (!imported.includes(crossing)) {
      return { what: `${peerAccount} does not import ${crossing}`, hint: "import it from BUS" };
    }
  }
  const other = [...exported, ...imported].find((crossing) => !wanted.includes(crossing));
  return other === undefined
    ? null
    : { what: `BUS and ${peerAccount} also share ${other}`, hint: "remove that export or import" };
}
