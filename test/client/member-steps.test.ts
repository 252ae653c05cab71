/** What changed between two versions of a room, and who signed each change. Source: docs/protocol/rooms.md. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { generateIdentity, type Identity } from "../../src/client/crypto/identity.ts";
import { memberSteps, signedStep } from "../../src/client/trust/member-steps.ts";
import { Story } from "../support/way-back.ts";

const people = await Promise.all(Array.from({ length: 8 }, generateIdentity));
const [ana, bob, cleo, dan] = people as [Identity, Identity, Identity, Identity];

/** The changes from version `from` to version `to`, as short texts. */
function changes(story: Story, from: number, to = story.version): string[] {
  const { state: before } = story.versions[from - 1] as Story["versions"][number];
  const { state: after } = story.versions[to - 1] as Story["versions"][number];
  const signed = story.versions.slice(from, to).map(({ statement }) => signedStep(statement));
  return memberSteps(before, after.lines, signed).map((step) =>
    step.kind === "rekeyed"
      ? `rekeyed ${step.epoch} by ${nameOf(step.by)}`
      : `${step.kind} ${nameOf(step.line.endpoint)} by ${nameOf(step.by)}`,
  );
}

const nameOf = (endpoint: string | null): string =>
  endpoint === null ? "?" : String(people.findIndex((one) => one.endpoint === endpoint));

describe("the changes of a room", () => {
  const story = Story.of(ana)
    .add(ana, bob, cleo)
    .role(ana, bob, "owner")
    .add(bob, dan)
    .rekey(bob, cleo)
    .role(bob, ana, "member")
    .add(bob, cleo)
    .rekey(bob);

  test.each([
    [1, 2, ["added 1 by 0", "added 2 by 0"]],
    [2, 3, ["role 1 by 0"]],
    [3, 4, ["added 3 by 1"]],
    [4, 5, ["removed 2 by 1", "rekeyed 2 by 1"]],
    [5, 6, ["role 0 by 1"]],
    [7, 8, ["rekeyed 3 by 1"]],
    [3, 3, []],
  ])("from version %d to %d come with their signer", (from, to, wanted) => {
    expect(changes(story, from, to)).toEqual(wanted);
  });

  test("over several versions come in order, each with its own signer", () => {
    expect(changes(story, 1)).toEqual([
      ...["added 1 by 0", "added 2 by 0", "role 1 by 0", "added 3 by 1"],
      ...["removed 2 by 1", "rekeyed 2 by 1", "role 0 by 1", "added 2 by 1", "rekeyed 3 by 1"],
    ]);
  });

  test("that cancel out do not come; what stays has a signer if only one owner signed", () => {
    const flips = Story.of(ana).add(ana, bob, cleo).role(ana, bob, "owner").role(ana, cleo, "owner");
    flips.role(cleo, bob, "member").add(cleo, dan).role(cleo, bob, "owner");
    // Bob's role at version 4 cannot be seen at version 7, so the hashes in between do not tell who added dan.
    const told = changes(flips, 4);
    expect(told.map((one) => one.replace(/by .*/, ""))).toEqual(["added 3 "]);
    expect(told[0]).toEndWith("by 2");
    const two = flips.at(4).role(cleo, bob, "member").add(ana, dan).role(cleo, bob, "owner");
    expect(changes(two, 4)).toEqual(["added 3 by ?"]);
  });

  test("are those that were made, by any owner, wherever the reader was before", () => {
    const choices = fc.array(fc.tuple(fc.nat(), fc.nat(), fc.nat()), { minLength: 1, maxLength: 12 });
    const property = fc.property(choices, fc.nat(), (list, where) => {
      const made = Story.of(ana);
      const told: string[][] = [];
      const promoted = new Set([ana]);
      const current = () => made.state.lines.filter(({ until }) => until === 0);
      const isIn = (one: Identity) => current().some(({ endpoint }) => endpoint === one.endpoint);
      for (const [what, who, by] of list) {
        const owners = people.filter((one) => promoted.has(one) && isIn(one));
        const signer = owners[by % owners.length] as Identity;
        const target = people[1 + (who % (people.length - 1))] as Identity;
        const [name, sign] = [nameOf(target.endpoint), nameOf(signer.endpoint)];
        const wasIn = made.state.lines.some(({ endpoint }) => endpoint === target.endpoint);
        if (what % 3 === 0 && !wasIn) {
          made.add(signer, target);
          told.push([`added ${name} by ${sign}`]);
        } else if (what % 3 === 1 && isIn(target) && !promoted.has(target)) {
          made.role(signer, target, "owner");
          promoted.add(target);
          told.push([`role ${name} by ${sign}`]);
        } else {
          const gone = isIn(target) && target !== signer ? [target] : [];
          made.rekey(signer, ...gone);
          const rekeyed = `rekeyed ${made.state.epoch} by ${sign}`;
          told.push([...gone.map(() => `removed ${name} by ${sign}`), rekeyed]);
        }
      }
      const from = 1 + (where % made.version);
      expect(changes(made, from)).toEqual(told.slice(from - 1).flat());
    });
    fc.assert(property, { numRuns: 150 });
  });
});
