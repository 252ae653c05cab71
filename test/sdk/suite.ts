/**
 * The client suite: the same cases on every platform, written against `unibus/client`. It needs only web APIs and a
 * stage.
 */
import { equal } from "./expect.ts";
import { faults } from "./faults.ts";
import { members } from "./members.ts";
import type { Case, Stage } from "./stage.ts";
import { talk } from "./talk.ts";

const silence: Case = {
  name: "there was no unhandled error",
  run: async (stage: Stage) => {
    // An error thrown in this turn is reported in the next one.
    await new Promise((resolve) => setTimeout(resolve));
    equal(stage.uncaught(), []);
  },
};

/** Timeout of one case, in milliseconds. */
const caseTimeoutMs = 45_000;

/** Gives a case its own deadline, because a test runner's timeout might also end the server. */
function bounded({ name, run }: Case): Case {
  const late = () => new Error(`not over within ${caseTimeoutMs} ms: ${name}`);
  return {
    name,
    run: async (stage) => {
      let timer: ReturnType<typeof setTimeout> | undefined;
      const limit = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(late()), caseTimeoutMs);
      });
      await Promise.race([run(stage), limit]).finally(() => clearTimeout(timer));
    },
  };
}

/** All cases, in order. */
export const cases: readonly Case[] = [...talk, ...members, ...faults, silence].map(bounded);
