import pino, { type DestinationStream } from "pino";
import type { Log } from "../contracts/plugin.ts";
import { safeLines } from "./terminal-text.ts";

/** The format of log lines: for people, or for machines. */
export type LogFormat = "text" | "json";

/** Converts an error and its causes for the log. */
function serialized(cause: unknown): unknown {
  if (!(cause instanceof Error)) return cause;
  const { name, message, stack, cause: deeper } = cause;
  return { name, message, stack, ...(deeper === undefined ? {} : { cause: serialized(deeper) }) };
}

/** Maximum depth of a log line's fields. */
const depthMax = 8;

/** Escapes control characters in a log field: errors and names may contain text by other people. */
function harmless(value: unknown, depth = 0): unknown {
  if (typeof value === "string") return safeLines(value);
  if (typeof value !== "object" || value === null || depth === depthMax) return value;
  if (Array.isArray(value)) return value.map((one) => harmless(one, depth + 1));
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, harmless(one, depth + 1)]));
}

/** Loaded only for logs that people read, so that a server with JSON logs starts faster and uses less memory. */
async function textStream(isTerminal: boolean): Promise<DestinationStream> {
  const { default: pretty } = await import("pino-pretty");
  const colorize = isTerminal && !process.env.NO_COLOR;
  return pretty({
    ...{ destination: 2, sync: true, colorize, singleLine: true },
    ...{ ignore: "pid,hostname,plugin", messageFormat: "{plugin}: {msg}" },
  });
}

/**
 * Creates the log on stderr, with a child for each plugin. Pino's transports are not used, because they run in threads
 * that the executable does not contain.
 * Shape: text on a terminal, otherwise JSON lines, unless `format` chooses one.
 */
export async function makeLog(format: LogFormat | undefined): Promise<(name: string) => Log> {
  const isTerminal = process.stderr.isTTY === true;
  const asText = format === undefined ? isTerminal : format === "text";
  const stream = asText ? await textStream(isTerminal) : pino.destination({ fd: 2, sync: true });
  const root = pino({ level: process.env.UNIBUS_DEBUG ? "debug" : "info", base: null }, stream);
  return (name) => {
    const child = root.child({ plugin: name });
    const line =
      (level: keyof Log) =>
      (message: string, fields: Record<string, unknown> = {}): void => {
        const shown = "cause" in fields ? { ...fields, cause: serialized(fields.cause) } : fields;
        child[level](harmless(shown) as object, safeLines(message));
      };
    return { debug: line("debug"), info: line("info"), warn: line("warn"), error: line("error") };
  };
}
