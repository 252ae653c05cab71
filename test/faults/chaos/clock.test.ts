/**
 * A clock that jumps forward or back: a request that was accepted once is not accepted again.
 * Source: docs/protocol/requests.md.
 */
import { expect, test } from "bun:test";
import { bootInProcess } from "../../support/in-process.ts";
import { addUser, call, send, signedHeaders } from "../../support/peer.ts";

const get = { method: "GET", target: "/directory" } as const;

for (const jumpS of [-3_600, -45, 45, 100, 3_600]) {
  test(`a replay is refused while the clock is ${jumpS} s off, and after it is corrected`, async () => {
    let offS = 0;
    await using bus = await bootInProcess({ now: () => Date.now() + offS * 1_000 });
    const url = bus.server.ready.http;
    const ana = await addUser(bus.server, "ana");
    const status = async (headers: Record<string, string>) =>
      (await send(`${url}${get.target}`, { ...get, headers })).status;
    const spent = Array.from({ length: 3 }, () => signedHeaders(ana, { url, ...get }));
    for (const headers of spent) expect(await status(headers)).toBe(200);
    offS = jumpS;
    for (const headers of spent) expect(await status(headers)).toBe(401);
    // A client with the same clock may still be accepted, and the server prunes the nonces that it remembers.
    const then = Array.from({ length: 3 }, () => signedHeaders(ana, { url, ...get, skewS: jumpS }));
    for (const headers of then) expect([200, 401]).toContain(await status(headers));
    offS = 0;
    for (const headers of [...spent, ...then]) expect(await status(headers)).toBe(401);
    expect((await call(url, ana, "GET", get.target)).status).toBe(200);
  });
}
