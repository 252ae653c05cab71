/** Setup budgets: a slow plugin that reports progress may exceed its budget, a silent one is aborted. */
import { expect, test } from "bun:test";
import { Type } from "@sinclair/typebox";
import { definePlugin } from "../../src/contracts/plugin.ts";
import { isUnibusError } from "../../src/wire/errors.ts";
import { until } from "../support/executable.ts";
import { freePort } from "../support/reverse-proxy.ts";
import { serving } from "./bus.ts";

/** A plugin whose setup runs until `isOver`, and reports progress every 20 ms if `reports` is set. */
function slow(isOver: () => boolean, reports: boolean) {
  return definePlugin({
    name: "slow",
    api: 1,
    config: Type.Object({}),
    async setup({ progress }) {
      for (let step = 1; !isOver(); step++) {
        if (reports) progress(`step ${Math.min(step, 1)} of 9`);
        await Bun.sleep(20);
      }
      return { services: {} };
    },
  });
}

test("a setup that reports its progress may exceed its budget, and /readyz shows the report", async () => {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const ask = (path: string) => fetch(url + path).catch(() => null);
  let isOver = false;
  const booting = serving([slow(() => isOver, true)], { setupBudgetMs: 500, http: { listen: `127.0.0.1:${port}` } });
  await until("the server answers", async () => (await ask("/healthz"))?.status === 200);
  const readiness = await ask("/readyz");
  expect(readiness?.status).toBe(503);
  const plugins = { slow: { ok: false, detail: "step 1 of 9" } };
  expect(await readiness?.json()).toEqual({ ready: false, plugins });
  // Clients get no connection, as if no server were listening.
  expect(await ask("/info")).toBeNull();
  isOver = true;
  await using bus = await booting;
  expect((await fetch(`${bus.url}/readyz`)).status).toBe(200);
  expect((await fetch(`${bus.url}/info`)).status).toBe(200);
});

test("a setup that reports nothing is aborted after its budget", async () => {
  const error = await serving([slow(() => false, false)], { setupBudgetMs: 100 }).catch((one: unknown) => one);
  expect(isUnibusError(error) && error.message).toBe("plugin slow took more than 100 ms in setup (see its log)");
});
