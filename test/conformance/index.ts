/** The conformance suites for plugins: `unibus/testing`. Run them with `bun test`. */
export { type OpenStore, type StoreUnderTest, storeConformance } from "./store.ts";
