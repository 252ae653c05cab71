/** An example of how a plugin author tests their own store. It lies beside their plugin. */
import { storeConformance } from "unibus/testing";
import memory from "../../../examples/plugins/store-memory.ts";

const log = { debug() {}, info() {}, warn() {}, error() {} };

storeConformance("memory", async () => {
  const releases: (() => unknown)[] = [];
  const onStop = (release: () => unknown) => void releases.push(release);
  const listener = { hostname: "127.0.0.1", port: () => 0, tls: false, isPublic: false, allowCleartext: false };
  const where = {
    version: "0",
    dataDir: ".",
    flags: {},
    publicUrl: null,
    url: () => "",
    hosts: [],
    facts: {},
    listener,
  };
  const { signal } = new AbortController();
  const { services } = await memory.setup(
    { config: {}, site: where, log, now: Date.now, signal, onStop, progress() {} },
    {},
  );
  const close = () => releases.splice(0).map((release) => release());
  const {
    RoomStore: rooms,
    UserStore: users,
    InviteStore: invites,
    Snapshot: snapshot,
    WayBackStore: wayBack,
  } = services;
  return { rooms, users, invites, snapshot, wayBack, breakBackend: close, close };
});
