/**
 * Checks at runtime the options that an application passes to the client, so that plain JavaScript, or TypeScript with
 * casts, gets an error that names the wrong option instead of undefined behavior later. Each public method has a table
 * of its options (`connectChecks`, `readChecks`, ...) and passes it to `checkOptions`.
 */
import { contentKinds, hopsMax, isContentKind } from "../wire/envelope.ts";
import { UnibusError } from "../wire/errors.ts";

/** Returns null for a valid value; otherwise what it should be, in words that follow "is not". */
type Check = (value: unknown) => string | null;

/** The options of a call, each with its check. An undefined option counts as missing. */
export type OptionChecks = Readonly<Record<string, Check>>;

const when =
  (holds: (value: unknown) => boolean, wanted: string): Check =>
  (value) =>
    holds(value) ? null : wanted;

/** `true` or `false`. */
export const isBoolean = when((value) => typeof value === "boolean", "true or false");
/** A non-empty string. */
const isText = when((value) => typeof value === "string" && value !== "", "a non-empty string");
/** A function. */
export const isFunction = when((value) => typeof value === "function", "a function");
const isTexts = when(
  (value) => Array.isArray(value) && value.every((one) => typeof one === "string"),
  "an array of strings",
);
/** An `AbortSignal`, of any realm. */
const isSignal = when(
  (value) => typeof (value as AbortSignal | null)?.aborted === "boolean" && "addEventListener" in Object(value),
  "an AbortSignal",
);
const isIdentity = when(
  (value) => typeof (value as { sign?: unknown } | null)?.sign === "function" && "signPubHex" in Object(value),
  "an Identity (see generateIdentity and parseIdentity)",
);

/** A whole number within bounds. */
function isInteger(least: number, most: number = Number.MAX_SAFE_INTEGER): Check {
  const wanted = `a whole number from ${least} to ${most}`;
  return when((value) => Number.isSafeInteger(value) && Number(value) >= least && Number(value) <= most, wanted);
}

/** A number within bounds. */
function isNumber(least: number, most: number): Check {
  const wanted = `a number from ${least} to ${most}`;
  return when((value) => typeof value === "number" && value >= least && value <= most, wanted);
}

/** One of several strings. */
function isOneOf(...choices: readonly string[]): Check {
  return when((value) => choices.includes(value as string), choices.map((one) => JSON.stringify(one)).join(" or "));
}

/** The longest delay of a timer, in milliseconds. */
const timerMsMax = 2_147_483_647;

/** A delay of a timer, in milliseconds. */
const isMilliseconds = isNumber(0, timerMsMax);

/** A value as an error shows it: short, and without possible secrets. */
function shown(value: unknown): string {
  if (typeof value === "string") return value.length > 40 ? "a long string" : JSON.stringify(value);
  if (value == null || typeof value === "number" || typeof value === "boolean") return String(value);
  if (Array.isArray(value)) return "an array";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}

const refused = (message: string): UnibusError => new UnibusError("invalid", message);

/**
 * Checks the options of a call. `required` names mandatory options, each with a hint.
 * Errors: invalid, naming the call and the option.
 */
export function checkOptions(
  call: string,
  options: unknown,
  checks: OptionChecks,
  required: Readonly<Record<string, string>> = {},
): void {
  if (typeof options !== "object" || options === null || Array.isArray(options)) {
    throw refused(`${call}: options must be an object, not ${shown(options)} (pass { ... })`);
  }
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined) continue;
    const check = Object.hasOwn(checks, name) ? checks[name] : undefined;
    if (check === undefined) {
      const known = Object.keys(checks).join(", ");
      throw refused(`${call}: unknown option ${JSON.stringify(name)} (known options: ${known})`);
    }
    const wanted = check(value);
    if (wanted !== null) throw refused(`${call}: option ${name} must be ${wanted}, not ${shown(value)} (correct it)`);
  }
  for (const [name, hint] of Object.entries(required)) {
    if ((options as Record<string, unknown>)[name] === undefined) {
      throw refused(`${call}: option ${name} is missing (${hint})`);
    }
  }
}

/** Checks the options of a nested object. */
function isObjectOf(call: string, checks: OptionChecks, required: Readonly<Record<string, string>> = {}): Check {
  return (value) => {
    checkOptions(call, value, checks, required);
    return null;
  };
}

function checkData(call: string, data: unknown): void {
  if (typeof data === "string" || data instanceof Uint8Array) return;
  const hint = "pass a string or a Uint8Array; for an object, use JSON.stringify";
  throw refused(`${call}: the message must not be ${shown(data)} (${hint})`);
}

const sendChecks: OptionChecks = {
  timeoutMs: isMilliseconds,
  offline: isOneOf("wait", "refuse"),
  signal: isSignal,
};

/** The options of `send`. */
export const sayChecks: OptionChecks = {
  ...sendChecks,
  thread: isText,
  replyTo: isText,
  blob: when((value) => "blob" in Object(value) && "epoch" in Object(value), "the result of putBlob"),
  kind: when(
    (value) => isContentKind(String(value)),
    `one of ${contentKinds.join(", ")}, or one that begins with app.`,
  ),
  mediaType: isText,
  fileName: isText,
  hops: isInteger(0, hopsMax),
};

/** The options of `sendFile`. */
export const fileChecks: OptionChecks = {
  ...sendChecks,
  thread: isText,
  replyTo: isText,
  hops: isInteger(0, hopsMax),
  mediaType: isText,
  name: isText,
  caption: when((value) => typeof value === "string", "a string"),
  size: isInteger(0),
  onProgress: isFunction,
};

/** The options of reading a received file. */
export const fileReadChecks: OptionChecks = {
  from: isInteger(0),
  max: isInteger(0),
  overwrite: isBoolean,
  onProgress: isFunction,
  signal: isSignal,
};

/** Checks a message and its options. Errors: invalid. */
export function checkSaying(call: string, data: unknown, options: unknown, checks: OptionChecks = sendChecks): void {
  checkData(call, data);
  checkOptions(call, options, checks);
}

/** The options of `messages`. */
export const readChecks: OptionChecks = {
  from: isOneOf("start", "now", "last"),
  queueMax: isInteger(1, 1_000_000),
  whenBehind: isOneOf("read", "drop"),
  signal: isSignal,
};

/** The options of `history`. */
export const historyChecks: OptionChecks = {
  limit: isInteger(1, 1_000),
  before: isInteger(1),
  after: isInteger(0),
  since: when((value) => value instanceof Date && !Number.isNaN(value.getTime()), "a valid Date"),
};

/** The options of `timeline`. */
export const timelineChecks: OptionChecks = { limit: isInteger(1, 1_000), signal: isSignal };

/** The options of `durable`. */
export const durableChecks: OptionChecks = { device: isText, signal: isSignal };

const lifetimeChecks: OptionChecks = { days: isNumber(0, 36_500), messages: isInteger(0) };
const limitChecks: OptionChecks = { messagesMax: isInteger(1), bytesMax: isInteger(1) };
const limitHints = { messagesMax: "set both limits", bytesMax: "set both limits" };

/** The options of `connect`. */
export const connectChecks: OptionChecks = {
  url: isText,
  urls: isTexts,
  identity: isIdentity,
  state: isText,
  lazy: isBoolean,
  settles: isBoolean,
  keepsChains: isBoolean,
  signals: isBoolean,
  readMarks: isBoolean,
  keyLifetime: isObjectOf("connect: keyLifetime", lifetimeChecks),
  acceptFrom: isTexts,
  sendLimits: isObjectOf("connect: sendLimits", limitChecks, limitHints),
  dial: isText,
  tls: isObjectOf("connect: tls", { ca: isText }),
  busClock: isBoolean,
  signal: isSignal,
};

/** The mandatory options of `connect`, with hints. */
export const connectHints = {
  identity: "create one with generateIdentity, or read one with parseIdentity",
  state: 'give a folder, in a browser a database name, to store the client state; "memory" stores nothing',
} as const;
