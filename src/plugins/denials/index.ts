/** Stores denials in the data directory, and a copy of them where the backups go. */
import { isAbsolute, join, resolve } from "node:path";
import { Type } from "@sinclair/typebox";
import { type DenialKind, Denials, denialLine, denialsFile } from "../../contracts/denials.ts";
import { definePlugin } from "../../contracts/plugin.ts";
import { DenialFile } from "./file.ts";

const Config = Type.Object(
  {
    copy_to: Type.Optional(
      Type.String({ minLength: 1, description: "a file outside the data directory that gets a copy of every line" }),
    ),
  },
  { additionalProperties: false },
);

/** Provides the denials log. */
export default definePlugin({
  name: "denials",
  api: 1,
  config: Config,
  provides: { denials: Denials },
  async setup({ config, site, log, now, signal, onStop }) {
    const { copy_to } = config;
    const copy = copy_to === undefined || isAbsolute(copy_to) ? copy_to : resolve(site.dataDir, copy_to);
    const file = new DenialFile({ file: join(site.dataDir, denialsFile), copy, log });
    onStop(() => file.settle());
    const denials: Denials = {
      note: (kind: DenialKind, key: string) => file.add(denialLine({ kind, key, at: now() })),
    };
    return {
      services: { denials },
      start: async () => file.keep(signal),
      health: async () => file.health(),
    };
  },
});
