/** Mutants of limits on stores and streams: the reserve and the disk. */
import type { Mutant } from "./mutant.ts";

const reserve = "test/kernel/reserve.test.ts";

export const storeMutants: readonly Mutant[] = [
  {
    name: "the reserve of the store is for removals",
    file: "src/contracts/reserve.ts",
    search: "if (!isAllowed) {",
    replace: "if (!isAllowed && bytes < 0) {",
    held: [{ file: reserve }],
  },
  {
    name: "the last fifth of the reserve is for admins",
    file: "src/contracts/reserve.ts",
    search: 'writer?.role === "admin";',
    replace: "writer !== undefined;",
    held: [{ file: reserve }],
  },
  {
    name: "departures in the reserve are one a minute",
    file: "src/contracts/reserve.ts",
    search: "if (waitMs > 0) {",
    replace: "if (waitMs < 0) {",
    held: [{ file: reserve }],
  },
  {
    name: "what is admitted counts before it is measured",
    file: "src/contracts/reserve.ts",
    search: 'if (use === "grows") this.#spent += writeBytes + 2 * bytes;',
    replace: "",
    held: [{ file: reserve }],
  },
  {
    name: "the reserve of SQLite",
    file: "src/plugins/store-sqlite/index.ts",
    search: "const reserveMax = { bytes: 67_108_864, share: 0.05 } as const;",
    replace: "const reserveMax = { bytes: 0, share: 0 } as const;",
    held: [{ file: "test/faults/disk-reserve.test.ts" }],
  },
  {
    name: "the reserve of KV",
    file: "src/plugins/store-kv/store.ts",
    search: "const reserveMax = { bytes: 268_435_456, share: 0.05 } as const;",
    replace: "const reserveMax = { bytes: 0, share: 0 } as const;",
    held: [{ file: "test/attacks/store-filled-by-one-user.test.ts" }],
  },
  {
    name: "the limit of all rooms together",
    file: "src/plugins/nats-embedded/config.ts",
    search: "jetstream: storage(bytesMax.bus),",
    replace: "jetstream: storage(-1),",
    held: [{ file: "test/attacks/member-that-fills-the-disk.test.ts" }],
  },
  {
    name: "JetStream calls in flight over one connection",
    file: "src/nats/jetstream.ts",
    search: "const callsAtOnceMax = 512;",
    replace: "const callsAtOnceMax = 512_000;",
    held: [{ file: "test/nats/jetstream.test.ts", test: "512 calls are in flight at most" }],
  },
  {
    name: "nothing else crosses between the accounts of existing servers",
    file: "src/nats/crossings.ts",
    search: "return other === undefined",
    replace: "return other === undefined || other !== undefined",
    held: [{ file: "test/nats/crossings.test.ts", test: "also share" }],
  },
];
