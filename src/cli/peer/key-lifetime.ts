/** The lifetime of room keys, as set by the environment. */
import type { KeyLifetime } from "../../client/trust/key-age.ts";
import { UnibusError } from "../../wire/errors.ts";

/** The environment variable for each limit. */
const settings = { days: "UNIBUS_KEY_DAYS", messages: "UNIBUS_KEY_MESSAGES" } as const;
/** The maximum value of each limit. */
const mostOf = { days: 36_500, messages: 1_000_000_000 } as const;

/** Reads the lifetime from the environment. Errors: invalid for a value that is not a number in range. */
export function keyLifetime(environment = process.env): Partial<KeyLifetime> {
  const set: { days?: number; messages?: number } = {};
  for (const name of ["days", "messages"] as const) {
    const text = environment[settings[name]];
    if (text === undefined || text === "") continue;
    if (!/^\d{1,10}$/.test(text) || Number(text) > mostOf[name]) {
      const hint = `set a number from 0 to ${mostOf[name]}; 0 means never`;
      throw new UnibusError("invalid", `${settings[name]} is ${JSON.stringify(text)}, not a number (${hint})`);
    }
    set[name] = Number(text);
  }
  return set;
}
