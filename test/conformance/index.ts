/** The conformance suites for plugins: `unibus/testing`. Run them with `bun test`. */
export { type OpenPluginOptions, openStorePlugin } from "./open-plugin.ts";
export { type OpenStore, type StoreUnderTest, storeConformance } from "./store.ts";
