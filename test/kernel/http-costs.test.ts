/** Which reads count against a user's share of the server's time. */
import { expect, test } from "bun:test";
import { bootInProcess } from "../support/in-process.ts";

/** Replies that contain a list but stay small in any server. */
const small = new Set(["/info"]);

const holdsList = (schema: unknown): boolean =>
  typeof schema === "object" &&
  schema !== null &&
  ((schema as { type?: unknown }).type === "array" || Object.values(schema).some(holdsList));

test("every signed read that returns a list is charged for it", async () => {
  await using running = await bootInProcess();
  const { paths } = (await (await fetch(`${running.server.ready.http}/openapi.json`)).json()) as {
    paths: Record<
      string,
      Record<string, { "x-access": string; "x-cost"?: string; responses: Record<string, unknown> }>
    >;
  };
  const reads = Object.entries(paths).flatMap(([path, { get }]) => (get === undefined ? [] : [{ path, ...get }]));
  const lists = reads.filter(
    (one) => one["x-access"] !== "public" && holdsList(one.responses["200"]) && !small.has(one.path),
  );
  expect(lists.length).toBeGreaterThanOrEqual(7);
  expect(lists.filter((one) => one["x-cost"] === undefined).map(({ path }) => path)).toEqual([]);
});
