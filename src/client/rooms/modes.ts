import { UnibusError } from "../../wire/errors.ts";
import type { Policy } from "../../wire/statement.ts";
import { checkOptions, isBoolean } from "../option-checks.ts";

/** The two named policies. Source: docs/protocol/rooms.md. */
export const modes = {
  nats: { encrypt: false, persist: false, sign_msgs: false },
  matrix: { encrypt: true, persist: true, sign_msgs: true },
} as const satisfies Record<string, Policy>;

const policyChecks = { encrypt: isBoolean, persist: isBoolean, sign_msgs: isBoolean };
const bothWays = "set it to true or false";
const policyHints = { encrypt: bothWays, persist: bothWays, sign_msgs: bothWays };

/** The policy for a mode's name, or the given policy itself. Errors: invalid. */
export function policyOf(given: Policy | keyof typeof modes): Policy {
  if (typeof given !== "string") {
    checkOptions("createRoom: policy", given, policyChecks, policyHints);
    return given;
  }
  if (Object.hasOwn(modes, given)) return modes[given];
  const names = Object.keys(modes).join(" or ");
  throw new UnibusError("invalid", `createRoom: unknown mode ${JSON.stringify(given)} (choose ${names})`);
}
