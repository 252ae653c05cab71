/** Every built-in plugin, loaded when a plan asks for it. */
export const builtins = {
  "nats-embedded": () => import("./nats-embedded/index.ts"),
  "nats-external": () => import("./nats-external/index.ts"),
  "store-sqlite": () => import("./store-sqlite/index.ts"),
  "store-kv": () => import("./store-kv/index.ts"),
  denials: () => import("./denials/index.ts"),
  "room-streams": () => import("./room-streams/index.ts"),
  auth: () => import("./auth/index.ts"),
  users: () => import("./users/index.ts"),
  invites: () => import("./invites/index.ts"),
  rooms: () => import("./rooms/index.ts"),
  blobs: () => import("./blobs/index.ts"),
  "blobs-disk": () => import("./blobs-disk/index.ts"),
  "blobs-nats": () => import("./blobs-nats/index.ts"),
  history: () => import("./history/index.ts"),
  durables: () => import("./durables/index.ts"),
  "auth-callout": () => import("./auth-callout/index.ts"),
  admin: () => import("./admin/index.ts"),
} as const;

/** For commands on the host: replacements of plugins that only the server itself may run. */
export const attached = {
  "nats-embedded": () => import("./nats-embedded/attach.ts"),
} as const;

/** For commands with --nats-url: replacements that connect to the nats-server at that address. */
export const dialled = {
  "nats-embedded": () => import("./nats-embedded/remote.ts"),
} as const;
