/** Error codes and their HTTP statuses, which clients rely on. */
import { expect, test } from "bun:test";
import { hasCode, isUnibusError, statusOf, UnibusError } from "../../src/wire/errors.ts";

test("the error codes and their statuses are fixed", () => {
  expect(statusOf).toEqual({
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
  });
});

test("an error has its code, its cause and its delay", () => {
  const cause = new Error("disk");
  const error = new UnibusError("rate_limited", "too many", { cause, retryAfterS: 2 });
  expect(error).toMatchObject({
    name: "UnibusError",
    code: "rate_limited",
    message: "too many",
    retryAfterS: 2,
    cause,
  });
  expect("cause" in new UnibusError("invalid", "no")).toBe(false);
});

test("an error is recognized by its brand, even from another copy of the file", () => {
  const foreign = Object.assign(new Error("x"), { [Symbol.for("unibus.error")]: true, code: "gone" });
  expect(isUnibusError(foreign)).toBe(true);
  expect(hasCode(foreign, "gone")).toBe(true);
  expect(hasCode(foreign, "conflict")).toBe(false);
  for (const other of [null, undefined, "gone", { code: "gone" }, new Error("gone"), () => 0]) {
    expect(isUnibusError(other)).toBe(false);
    expect(hasCode(other, "gone")).toBe(false);
  }
});
