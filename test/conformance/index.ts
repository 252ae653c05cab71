/** The suites that a plugin passes to keep its promises: `unibus/testing`. Run them with `bun test`. */
export { type OpenStore, type StoreUnderTest, storeConformance } from "./store.ts";
