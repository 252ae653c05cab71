/** What an application passes is checked when it runs, and the error names the option. Source: spec 17. */
import { describe, expect, test } from "bun:test";
import { connect, generateIdentity } from "../../src/client/index.ts";
import { modes, policyOf } from "../../src/client/modes.ts";
import { checkOptions, checkSaying, historyChecks, readChecks, sayChecks } from "../../src/client/option-checks.ts";
import type { UnibusError } from "../../src/wire/errors.ts";

const identity = await generateIdentity();
const url = "http://127.0.0.1:1";
const good = { url, identity, state: "memory" };
const secret = "0123456789abcdef".repeat(4);

/** What a call is refused with: its code and its words. */
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
    ["no options", undefined, "invalid: connect: its options are undefined, not an object (pass { ... })"],
    [
      "no state",
      { url, identity },
      "invalid: connect: option state is missing (name a folder, in a browser a database",
    ],
    [
      "no identity",
      { url, state: "memory" },
      "invalid: connect: option identity is missing (make one by generateIdentity",
    ],
    [
      "the text of an identity",
      { ...good, identity: secret },
      "invalid: connect: option identity is a text, not an Identity",
    ],
    ["an empty state", { ...good, state: "" }, 'invalid: connect: option state is "", not a text (correct it)'],
    [
      "a misspelt option",
      { ...good, lasy: true },
      'invalid: connect: unknown option "lasy" (known options: url, urls,',
    ],
    ["lazy as a text", { ...good, lazy: "yes" }, 'invalid: connect: option lazy is "yes", not true or false'],
    ["settles as a number", { ...good, settles: 1 }, "invalid: connect: option settles is 1, not true or false"],
    ["urls as a text", { ...good, urls: url }, `invalid: connect: option urls is "${url}", not a list of texts`],
    [
      "acceptFrom as a text",
      { ...good, acceptFrom: "ana" },
      'invalid: connect: option acceptFrom is "ana", not a list',
    ],
    ["busClock as a text", { ...good, busClock: "true" }, 'invalid: connect: option busClock is "true", not true or'],
    [
      "half of sendLimits",
      { ...good, sendLimits: { messagesMax: 1 } },
      "invalid: connect: sendLimits: option bytesMax is m",
    ],
    [
      "sendLimits of zero",
      { ...good, sendLimits: { messagesMax: 0, bytesMax: 1 } },
      "invalid: connect: sendLimits: option messagesMax is 0, not a whole number from 1",
    ],
    [
      "sendLimits as a number",
      { ...good, sendLimits: 5 },
      "invalid: connect: sendLimits: its options are 5, not an object",
    ],
    [
      "a key lifetime that is no number",
      { ...good, keyLifetime: { days: "30" } },
      'invalid: connect: keyLifetime: option days is "30", not a number',
    ],
    [
      "tls that is a text",
      { ...good, tls: "ca.pem" },
      'invalid: connect: tls: its options are "ca.pem", not an object',
    ],
    [
      "a signal that is none",
      { ...good, signal: {} },
      "invalid: connect: option signal is an object, not an AbortSignal",
    ],
    ["a seam of tests", { ...good, ownClock: {} }, 'invalid: connect: unknown option "ownClock"'],
  ])("refuses %s", async (_, options, why) => {
    const given = await refusal(() => connect(options as never));
    expect(given).toStartWith(why);
    expect(given).not.toContain(secret);
  });

  test("takes what is right, and options that are undefined", async () => {
    const options = { ...good, lazy: true, settles: false, keyLifetime: { days: 0 }, tls: { ca: "x" }, acceptFrom: [] };
    expect(await refusal(() => connect({ ...options, signal: undefined, dial: undefined }))).toStartWith(
      "unavailable: ",
    );
  });
});

describe("a room's calls", () => {
  test.each([
    [{ timeoutMs: "5s" }, 'send: option timeoutMs is "5s", not a number from 0 to 2147483647'],
    [{ timeoutMs: Number.NaN }, "send: option timeoutMs is NaN, not a number"],
    [{ timeoutMs: 1e12 }, "send: option timeoutMs is 1000000000000, not a number from 0 to"],
    [
      { timeout: 5 },
      'send: unknown option "timeout" (known options: timeoutMs, offline, signal, thread, replyTo, blob)',
    ],
    [{ offline: "drop" }, 'send: option offline is "drop", not "wait" or "refuse"'],
    [{ replyTo: {} }, "send: option replyTo is an object, not a text"],
    [{ blob: "abc" }, 'send: option blob is "abc", not what putBlob gave'],
    [null, "send: its options are null, not an object"],
    [[], "send: its options are a list, not an object"],
    [{ timeoutMs: 5, offline: "refuse", thread: undefined }, "taken"],
  ])("send with %j", async (options, why) => {
    const given = await refusal(() => checkSaying("send", "text", options, sayChecks));
    expect(given.replace("invalid: ", "")).toStartWith(why);
  });

  test.each([
    [
      { a: 1 },
      "send: the message is an object (pass a string or a Uint8Array; JSON.stringify makes a string of an object)",
    ],
    [undefined, "send: the message is undefined"],
    [5, "send: the message is 5"],
    [new ArrayBuffer(3), "send: the message is an object"],
    [new Uint8Array(3), "taken"],
    ["", "taken"],
  ])("a message that is %p", async (data, why) => {
    expect((await refusal(() => checkSaying("send", data, {}, sayChecks))).replace("invalid: ", "")).toStartWith(why);
  });

  test.each([
    [readChecks, { from: "beginning" }, 'x: option from is "beginning", not "start" or "now" or "last"'],
    [readChecks, { queueMax: 0 }, "x: option queueMax is 0, not a whole number from 1 to 1000000"],
    [readChecks, { queueMax: 1.5 }, "x: option queueMax is 1.5, not a whole number"],
    [historyChecks, { limit: 1_001 }, "x: option limit is 1001, not a whole number from 1 to 1000"],
    [historyChecks, { before: 0 }, "x: option before is 0, not a whole number from 1"],
    [historyChecks, { limit: 1_000, before: undefined }, "taken"],
  ])("%# %j", async (checks, options, why) => {
    expect((await refusal(() => checkOptions("x", options, checks))).replace("invalid: ", "")).toStartWith(why);
  });

  test("a policy is one of the modes, or says all three", async () => {
    expect(policyOf("matrix")).toEqual(modes.matrix);
    for (const [given, why] of [
      ["matrx", 'unknown mode "matrx" (choose nats or matrix)'],
      ["toString", 'unknown mode "toString"'],
      [{ encrypt: true }, "option persist is missing (say true or false)"],
      [{ encrypt: 1, persist: true, sign_msgs: true }, "option encrypt is 1, not true or false"],
      [null, "its options are null, not an object"],
    ] as const) {
      expect(await refusal(() => policyOf(given as never))).toMatch(/^invalid: createRoom/);
      expect(await refusal(() => policyOf(given as never))).toContain(why);
    }
  });
});
