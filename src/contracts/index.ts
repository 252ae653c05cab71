/** What a third party's plugin imports: `unibus/plugin`. */
export { Type } from "@sinclair/typebox";
export * from "../wire/address.ts";
export * from "../wire/api.ts";
export * from "../wire/encoding.ts";
export * from "../wire/errors.ts";
export * from "../wire/names.ts";
export * from "../wire/room-stream.ts";
export * from "../wire/sign.ts";
export * from "../wire/statement.ts";
export * from "./auth.ts";
export * from "./nats.ts";
export * from "./plugin.ts";
export * from "./rooms.ts";
export * from "./signature.ts";
export * from "./store.ts";
export * from "./streams.ts";
export * from "./users.ts";
