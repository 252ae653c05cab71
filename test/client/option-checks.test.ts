/**
 * Runtime checks of the options that an application passes to the client: `connect`, room calls, and policies.
 * Applications in plain JavaScript have no compiler to check them. Each error must name the option.
 */
import { describe, expect, test } from "bun:test";
import { connect, generateIdentity } from "../../src/client/index.ts";
import { checkOptions, checkSaying, historyChecks, readChecks, sayChecks } from "../../src/client/option-checks.ts";
import { modes, policyOf } from "../../src/client/rooms/modes.ts";
import type { UnibusError } from "../../src/wire/errors.ts";

const identity = await generateIdentity();
const url = "http://127.0.0.1:1";
const good = { url, identity, state: "memory" };
const secret = "0123456789abcdef".repeat(4);

/** The code and message with which a call is refused. */
async function refusal(work: () => unknown): Promise<string> {
  try {
    await work();
  } catch (error) {
    const { code, message } = error as UnibusError;
    return `${code}: ${message}`;
  }
  return "taken";
}

describe("connect", () => {
  test.each([
    ["no options", undefined, "invalid: connect: options must be an object, not undefined (pass { ... })"],
    [
      "no state",
      { url, identity },
      "invalid: connect: option state is missing (give a folder, in a browser a database",
    ],
    [
      "no identity",
      { url, state: "memory" },
      "invalid: connect: option identity is missing (create one with generateIdentity",
    ],
    [
      "the text form of an identity",
      { ...good, identity: secret },
      "invalid: connect: option identity must be an Identity (see generateIdentity and parseIdentity), not a long string",
    ],
    ["an empty state", { ...good, state: "" }, 'invalid: connect: option state must be a non-empty string, not ""'],
    [
      "a misspelled option",
      { ...good, lasy: true },
      'invalid: connect: unknown option "lasy" (known options: url, urls,',
    ],
    [
      "acceptFrom as a string",
      { ...good, acceptFrom: "ana" },
      'invalid: connect: option acceptFrom must be an array of strings, not "ana"',
    ],
    [
      "busClock as a string",
      { ...good, busClock: "true" },
      'invalid: connect: option busClock must be true or false, not "true"',
    ],
    [
      "an incomplete sendLimits",
      { ...good, sendLimits: { messagesMax: 1 } },
      "invalid: connect: sendLimits: option bytesMax is m",
    ],
    [
      "sendLimits of zero",
      { ...good, sendLimits: { messagesMax: 0, bytesMax: 1 } },
      "invalid: connect: sendLimits: option messagesMax must be a whole number from 1 to 9007199254740991, not 0",
    ],
    [
      "sendLimits as a number",
      { ...good, sendLimits: 5 },
      "invalid: connect: sendLimits: options must be an object, not 5",
    ],
    [
      "a key lifetime that is not a number",
      { ...good, keyLifetime: { days: "30" } },
      'invalid: connect: keyLifetime: option days must be a number from 0 to 36500, not "30"',
    ],
    ["tls as a string", { ...good, tls: "ca.pem" }, 'invalid: connect: tls: options must be an object, not "ca.pem"'],
    [
      "a signal that is not an AbortSignal",
      { ...good, signal: {} },
      "invalid: connect: option signal must be an AbortSignal, not an object",
    ],
    ["an internal option", { ...good, ownClock: {} }, 'invalid: connect: unknown option "ownClock"'],
  ])("refuses %s", async (_, options, why) => {
    const given = await refusal(() => connect(options as never));
    expect(given).toStartWith(why);
    expect(given).not.toContain(secret);
  });

  test("accepts valid options, and undefined ones", async () => {
    const options = { ...good, lazy: true, settles: false, keyLifetime: { days: 0 }, tls: { ca: "x" }, acceptFrom: [] };
    expect(await refusal(() => connect({ ...options, signal: undefined, dial: undefined }))).toStartWith(
      "unavailable: ",
    );
  });
});

describe("the methods of a room", () => {
  test.each([
    [{ timeoutMs: "5s" }, 'send: option timeoutMs must be a number from 0 to 2147483647, not "5s"'],
    [{ timeoutMs: Number.NaN }, "send: option timeoutMs must be a number from 0 to 2147483647, not NaN"],
    [{ timeoutMs: 1e12 }, "send: option timeoutMs must be a number from 0 to 2147483647, not 1000000000000"],
    [
      { timeout: 5 },
      'send: unknown option "timeout" (known options: timeoutMs, offline, signal, thread, replyTo, blob, kind, mediaType, fileName, hops)',
    ],
    [{ offline: "drop" }, 'send: option offline must be "wait" or "refuse", not "drop"'],
    [{ replyTo: {} }, "send: option replyTo must be a non-empty string, not an object"],
    [{ kind: "poll" }, "send: option kind must be one of text, data, file, edit, delete, react, unreact, pin, title"],
    [{ kind: "app.poll", hops: 8 }, "taken"],
    [{ hops: 9 }, "send: option hops must be a whole number from 0 to 8, not 9"],
    [{ blob: "abc" }, 'send: option blob must be the result of putBlob, not "abc"'],
    [null, "send: options must be an object, not null"],
    [[], "send: options must be an object, not an array"],
    [{ timeoutMs: 5, offline: "refuse", thread: undefined }, "taken"],
  ])("check the options of send: %j", async (options, why) => {
    const given = await refusal(() => checkSaying("send", "text", options, sayChecks));
    expect(given.replace("invalid: ", "")).toStartWith(why);
  });

  test.each([
    [
      { a: 1 },
      "send: the message must not be an object (pass a string or a Uint8Array; for an object, use JSON.stringify)",
    ],
    [undefined, "send: the message must not be undefined"],
    [5, "send: the message must not be 5"],
    [new ArrayBuffer(3), "send: the message must not be an object"],
    [new Uint8Array(3), "taken"],
    ["", "taken"],
  ])("check a message that is %p", async (data, why) => {
    expect((await refusal(() => checkSaying("send", data, {}, sayChecks))).replace("invalid: ", "")).toStartWith(why);
  });

  test.each([
    [readChecks, { from: "beginning" }, 'x: option from must be "start" or "now" or "last", not "beginning"'],
    [readChecks, { queueMax: 0 }, "x: option queueMax must be a whole number from 1 to 1000000, not 0"],
    [readChecks, { queueMax: 1.5 }, "x: option queueMax must be a whole number from 1 to 1000000, not 1.5"],
    [historyChecks, { limit: 1_001 }, "x: option limit must be a whole number from 1 to 1000, not 1001"],
    [historyChecks, { before: 0 }, "x: option before must be a whole number from 1 to 9007199254740991, not 0"],
    [historyChecks, { limit: 1_000, before: undefined }, "taken"],
  ])("check case %#: %j", async (checks, options, why) => {
    expect((await refusal(() => checkOptions("x", options, checks))).replace("invalid: ", "")).toStartWith(why);
  });

  test("accept a policy that is one of the modes, or states all three choices", async () => {
    expect(policyOf("matrix")).toEqual(modes.matrix);
    for (const [given, why] of [
      ["matrx", 'unknown mode "matrx" (choose nats or matrix)'],
      ["toString", 'unknown mode "toString"'],
      [{ encrypt: true }, "option persist is missing (set it to true or false)"],
      [{ encrypt: 1, persist: true, sign_msgs: true }, "option encrypt must be true or false, not 1"],
      [null, "options must be an object, not null"],
    ] as const) {
      expect(await refusal(() => policyOf(given as never))).toMatch(/^invalid: createRoom/);
      expect(await refusal(() => policyOf(given as never))).toContain(why);
    }
  });
});
