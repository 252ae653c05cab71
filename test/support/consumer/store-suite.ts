/** An example of how a plugin author tests their own store. It lies beside their plugin. */
import { openStorePlugin, storeConformance } from "unibus/testing";
import memory from "../../../examples/plugins/store-memory.ts";

storeConformance("memory", () => openStorePlugin(memory));
