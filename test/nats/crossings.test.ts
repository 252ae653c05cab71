/** The subjects that cross between NATS accounts: the rule, the configuration built from it, and every deviation. */
import { describe, expect, test } from "bun:test";
import { crossingFault, crossings, type ReportedCrossing } from "../../src/nats/crossings.ts";

const namespaces = ["room", "shop"];
const exported: readonly ReportedCrossing[] = crossings(namespaces);
const imported: readonly ReportedCrossing[] = exported.map((one) => ({ ...one, account: "BUS" }));

test("rooms, acks, deliveries and notices cross, and nothing else", () => {
  expect(exported.map(({ type, subject }) => `${type} ${subject}`)).toEqual([
    "service room.>",
    "service shop.>",
    "service $JS.ACK.>",
    "stream _DELIVER.>",
    "stream unibus.user.>",
  ]);
});

test("every subject that crosses is a wildcard", () => {
  for (const { subject } of exported) expect(subject).toEndWith(".>");
});

describe("a server whose accounts", () => {
  test("share exactly these subjects is accepted", () => {
    expect(crossingFault(exported, imported, namespaces)).toBeNull();
  });

  test("may import from other accounts", () => {
    const foreign = { type: "service", subject: "other.>", account: "OTHER" };
    expect(crossingFault(exported, [...imported, foreign], namespaces)).toBeNull();
  });

  test.each(exported.map(({ type, subject }, index) => [`${type} ${subject}`, index] as const))(
    "do not share %s is refused",
    (name, index) => {
      const without = <T>(all: readonly T[]) => all.filter((_, at) => at !== index);
      expect(crossingFault(without(exported), imported, namespaces)?.what).toBe(`BUS does not export ${name}`);
      expect(crossingFault(exported, without(imported), namespaces)?.what).toBe(`PEERS does not import ${name}`);
    },
  );

  test.each([
    ["service", "$JS.API.>"],
    ["stream", "room.>"],
    ["service", "room.a"],
    ["service", ">"],
  ])("also share %s %s is refused", (type, subject) => {
    const fault = { what: `BUS and PEERS also share ${type} ${subject}`, hint: "remove that export or import" };
    expect(crossingFault([...exported, { type, subject }], imported, namespaces)).toEqual(fault);
    expect(crossingFault(exported, [...imported, { type, subject, account: "BUS" }], namespaces)).toEqual(fault);
  });
});
