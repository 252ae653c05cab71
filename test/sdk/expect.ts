/** The suite's own assertions, without dependencies, so that they run on every platform of the client. */
import { isUnibusError, UnibusError } from "unibus/client";

const pollMs = 10;
const untilMs = 20_000;

const shown = (value: unknown): string =>
  JSON.stringify(value, (_, inner: unknown) => {
    if (inner instanceof Uint8Array) return `bytes ${inner.join(" ")}`;
    return inner === undefined ? "undefined" : inner;
  });

/** Fails unless two values have the same text form. */
export function equal(found: unknown, wanted: unknown, what = "value"): void {
  if (shown(found) !== shown(wanted)) throw new Error(`${what}: ${shown(found)}, not ${shown(wanted)}`);
}

/** Fails unless a condition holds. */
export function ok(holds: boolean, what: string): void {
  if (!holds) throw new Error(`it does not hold: ${what}`);
}

/** Waits for a condition; on timeout, fails with its name. */
export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const end = Date.now() + untilMs;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`not within ${untilMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}

/** The error of some work. Fails if the work succeeds. */
export async function errorOf(work: () => unknown): Promise<unknown> {
  try {
    await work();
  } catch (error) {
    return error;
  }
  throw new Error("it did not fail");
}

/** Expects a typed error of that code, with a message that names the fix. */
export async function refused(code: UnibusError["code"], work: () => unknown): Promise<UnibusError> {
  const error = await errorOf(work);
  if (!isUnibusError(error)) throw error;
  equal(error.code, code, `the code of "${error.message}"`);
  ok(error instanceof UnibusError && error instanceof Error, "the error is a UnibusError");
  ok(error.message.length > 0, "the error has a message");
  return error;
}
