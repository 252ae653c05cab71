/**
 * Every error code of the API and its HTTP status. These never change, because clients branch on the code.
 * Source: docs/protocol/errors.md.
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

/** An error code that an HTTP reply may carry. */
export type ReplyCode = keyof typeof statusOf;

/**
 * A stable error code for programs. Two codes appear only in clients, never in a reply: `room_forked` means that the
 * bus contradicts what a room's owners signed; `room_stale` means that an owner signed a message in a later epoch than
 * the bus shows. Source: docs/protocol/rooms.md, docs/protocol/errors.md.
 */
export type ErrorCode = ReplyCode | "room_forked" | "room_stale";

const brand = Symbol.for("unibus.error");

/**
 * The only error class that crosses a plugin boundary.
 * Shape: `code`; `message`, which is safe to show to anyone; `cause`, which only goes to the log.
 */
export class UnibusError extends Error {
  override readonly name = "UnibusError";
  readonly [brand] = true;
  readonly code: ErrorCode;
  /** Seconds to wait before a retry, if the server knows. */
  readonly retryAfterS: number | undefined;
  /** The request's id in the server's log, if the reply carried it. */
  readonly requestId: string | undefined;
  /** Machine-readable facts besides the code. Safe to show. */
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

/** Recognises a UnibusError by its brand, so errors from another copy of this module count too. */
export function isUnibusError(error: unknown): error is UnibusError {
  return typeof error === "object" && error !== null && (error as { [brand]?: unknown })[brand] === true;
}

/** Reports whether a text is an error code that a reply may carry. */
export function isReplyCode(text: unknown): text is ReplyCode {
  return typeof text === "string" && Object.hasOwn(statusOf, text);
}

/** An error that a reply may show. */
export type ShownError = UnibusError & { readonly code: ReplyCode };

/** Converts any error to one that a reply may show: the error itself, or `internal` with it as the cause. */
export function asUnibusError(error: unknown): ShownError {
  const shown = isUnibusError(error) && isReplyCode(error.code) ? error : null;
  return (shown ?? new UnibusError("internal", "internal error", { cause: error })) as ShownError;
}

/** Reports whether an error is a UnibusError with this code. */
export function hasCode(error: unknown, code: ErrorCode): error is UnibusError {
  return isUnibusError(error) && error.code === code;
}
