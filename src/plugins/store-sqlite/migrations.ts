import type { Database as Native } from "bun:sqlite";
import type { Log } from "../../contracts/plugin.ts";
import { UnibusError } from "../../wire/errors.ts";
import init from "./migrations/0001-init.sql" with { type: "text" };
import looks from "./migrations/0002-looks.sql" with { type: "text" };
import acceptance from "./migrations/0003-acceptance.sql" with { type: "text" };
import wayBack from "./migrations/0004-way-back.sql" with { type: "text" };
import rowCharges from "./migrations/0005-row-charges.sql" with { type: "text" };
import roomRevision from "./migrations/0006-room-revision.sql" with { type: "text" };

/** Every migration of the schema, in order, numbered from 1. A released one never changes; each one only adds. */
const migrations: readonly { readonly name: string; readonly sql: string }[] = [
  { name: "0001-init", sql: init },
  { name: "0002-looks", sql: looks },
  { name: "0003-acceptance", sql: acceptance },
  { name: "0004-way-back", sql: wayBack },
  { name: "0005-row-charges", sql: rowCharges },
  { name: "0006-room-revision", sql: roomRevision },
];

/**
 * Migrates a database to this version's schema, and records each migration with its time.
 * Idempotent, even if several processes open the file at once.
 * Errors: unavailable if a newer version has written the file.
 */
export function migrate(native: Native, file: string, options: { log?: Log | undefined; now: () => number }): void {
  const step = native.transaction(() => {
    native.run(`CREATE TABLE IF NOT EXISTS migrations (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  applied_at INTEGER NOT NULL
) STRICT`);
    const newest = native.query<{ id: number | null }, []>("SELECT max(id) AS id FROM migrations").get();
    const applied = newest?.id ?? 0;
    if (applied > migrations.length) {
      const versions = `it has migration ${applied}, this version knows ${migrations.length}`;
      throw new UnibusError(
        "unavailable",
        `the database ${file} is from a newer unibus: ${versions} (start that version, or restore a backup)`,
      );
    }
    const record = native.query<never, [number, string, number]>(
      "INSERT INTO migrations (id, name, applied_at) VALUES (?, ?, ?)",
    );
    migrations.slice(applied).forEach(({ name, sql }, index) => {
      native.run(sql);
      record.run(applied + index + 1, name, options.now());
      // A new database is not worth a log line.
      options.log?.[applied === 0 ? "debug" : "info"](`applied migration ${name}`, { file });
    });
  });
  step.immediate();
}
