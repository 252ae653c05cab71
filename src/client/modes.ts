import type { Policy } from "../wire/statement.ts";

/** The two modes that have a name. Source: spec 3. */
export const modes = {
  nats: { encrypt: false, persist: false, sign_msgs: false },
  matrix: { encrypt: true, persist: true, sign_msgs: true },
} as const satisfies Record<string, Policy>;
