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
  contested: 409,
  gone: 410,
  too_large: 413,
  unsupported: 415,
  rate_limited: 429,
  quota: 429,
  internal: 500,
  unavailable: 503,
} as const;

/** A code that a reply may carry. */
export type ReplyCode = keyof typeof statusOf;

/**
 * A stable name for what went wrong. Only a client finds two of them, so no reply carries these: `room_forked`, the bus
 * contradicts what a room's owners signed; `room_stale`, an owner signed a message in a later epoch than the bus shows.
 * Source: spec 3, 5.
 */
export type ErrorCode = ReplyCode | "room_forked" | "room_stale";

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
  /** Names the request in the server's log, where a reply said so. */
  readonly requestId: string | undefined;
  /** What a program needs to know beside the code. Safe to show. */
  readonly details: Readonly<Record<string, unknown>> | undefined;

  constructor(
    code: ErrorCode,
    message: string,
    options: {
      cause?: unknown;
      retryAfterS?: number | undefined;
      requestId?: string | undefined;
      details?: Readonly<Record<string, unknown>> | undefined;
    } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryAfterS = options.retryAfterS;
    this.requestId = options.requestId;
    this.details = options.details;
  }
}

/** Recognises the error by its brand, so that two copies of this file agree. */
export function isUnibusError(error: unknown): error is UnibusError {
  return typeof error === "object" && error !== null && (error as { [brand]?: unknown })[brand] === true;
}

/** Whether a text is a code that a reply may carry. */
export function isReplyCode(text: unknown): text is ReplyCode {
  return typeof text === "string" && Object.hasOwn(statusOf, text);
}

/** An error as a reply may show it. */
export type ShownError = UnibusError & { readonly code: ReplyCode };

/** An error as a reply may show it: itself, or `internal` with it as the cause. */
export function asUnibusError(error: unknown): ShownError {
  const shown = isUnibusError(error) && isReplyCode(error.code) ? error : null;
  return (shown ?? new UnibusError("internal", "something went wrong here", { cause: error })) as ShownError;
}

/** Whether an error is a UnibusError of that code. */
export function hasCode(error: unknown, code: ErrorCode): error is UnibusError {
  return isUnibusError(error) && error.code === code;
}
