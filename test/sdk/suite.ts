/**
 * The suite of the client: one text for every platform, against `unibus/client` alone. It needs nothing but the web's
 * own API, and a stage.
 */
import { equal } from "./expect.ts";
import { faults } from "./faults.ts";
import { members } from "./members.ts";
import type { Case, Stage } from "./stage.ts";
import { talk } from "./talk.ts";

const silence: Case = {
  name: "nothing was thrown that nobody caught",
  run: async (stage: Stage) => {
    // What is thrown in this turn is told in the next.
    await new Promise((resolve) => setTimeout(resolve));
    equal(stage.uncaught(), []);
  },
};

/** How long one case may take, in milliseconds. */
const caseTimeoutMs = 45_000;

/** The case with a deadline of its own: a runner's might end the bus along with it. */
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

/** All cases, in their order. */
export const cases: readonly Case[] = [...talk, ...members, ...faults, silence].map(bounded);
