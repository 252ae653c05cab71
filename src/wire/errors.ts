/**
 * Every error code and its HTTP status. Fixed: clients branch on the code.
 * Source: spec 5.
 */
export const statusOf = {
  invalid: 400,
  unauthenticated: 401,
  wrong_host: 401,
  clock_skew: 401,
  forbidden: 403,
  not_found: 404,
  method_not_allowed: 405,
  timeout: 408,
  conflict: 409,
  gone: 410,
  too_large: 413,
  unsupported: 415,
  rate_limited: 429,
  quota: 429,
  internal: 500,
  unavailable: 503,
} as const;

/** A stable name for what went wrong. */
export type ErrorCode = keyof typeof statusOf;

const brand = Symbol.for("unibus.error");

/**
 * The only error that crosses a plugin's edge.
 * Shape: `code`; `message`, which is safe to show to anybody; `cause`, which is for the log alone.
 */
export class UnibusError extends Error {
  override readonly name = "UnibusError";
  readonly [brand] = true;
  readonly code: ErrorCode;
  /** Seconds after which to try again, where the server knows. */
  readonly retryAfterS: number | undefined;

  constructor(code: ErrorCode, message: string, options: { cause?: unknown; retryAfterS?: number } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryAfterS = options.retryAfterS;
  }
}

/** Recognises the error by its brand, so that two copies of this file agree. */
export function isUnibusError(error: unknown): error is UnibusError {
  return typeof error === "object" && error !== null && (error as { [brand]?: unknown })[brand] === true;
}

/** An error as it may be shown: itself, or `internal` with it as the cause. */
export function asUnibusError(error: unknown): UnibusError {
  return isUnibusError(error) ? error : new UnibusError("internal", "something went wrong here", { cause: error });
}

/** Whether an error is a UnibusError of that code. */
export function hasCode(error: unknown, code: ErrorCode): error is UnibusError {
  return isUnibusError(error) && error.code === code;
}
