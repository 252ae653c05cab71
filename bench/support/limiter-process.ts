/** Fills a limiter; prints how much memory that took and how fast it answers. */
import { Limiter } from "../../src/contracts/limiter.ts";
import { clientKey } from "../../src/wire/address.ts";

const [clients = 0, lookUps = 0] = process.argv.slice(2).map(Number);

const addresses = (count: number) =>
  Array.from({ length: count }, (_, i) =>
    clientKey(`2001:db8:${(i >> 16).toString(16)}:${(i & 0xffff).toString(16)}::1`),
  );

const resident = (): number => {
  Bun.gc(true);
  return process.memoryUsage().rss;
};

function perSecond(keys: readonly string[], take: (key: string, at: number) => unknown): number {
  const began = performance.now();
  for (let i = 0; i < lookUps; i++) take(keys[i % keys.length] ?? "", i);
  return lookUps / ((performance.now() - began) / 1_000);
}

/** Runs each measured path once, so that compilation is not measured. */
function warmUp(): void {
  const small = new Limiter(100);
  for (const key of addresses(1_000)) small.take(key, 0);
}

warmUp();
const before = resident();
const limiter = new Limiter(1_000_000);
for (const key of addresses(clients)) limiter.take(key, 0);
const megabytes = (resident() - before) / 1_048_576;

const keys = addresses(clients);
const takePerSecond = perSecond(keys, (key, at) => limiter.take(key, at));
const few = new Limiter(1_000_000);
const fewPerSecond = perSecond(keys.slice(0, 10), (key, at) => few.take(key, at));
const map = new Map<string, { at: number }>();
const mapPerSecond = perSecond(keys, (key, at) => {
  const known = map.get(key) ?? { at };
  known.at = at;
  map.set(key, known);
});
console.log(JSON.stringify({ megabytes, takePerSecond, fewPerSecond, mapPerSecond }));
