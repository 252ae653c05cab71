import type { Database as Native } from "bun:sqlite";
import type { Log } from "../../contracts/plugin.ts";
import { type Looks, looksOf, looksVersion } from "../../wire/looks.ts";

/** The columns that are stored with a handle: its looks and their version. */
export type LooksBinding = Pick<Looks, keyof Looks> & { readonly looksVersion: string };

/** Computes the columns that are stored with a handle. */
export function looksBinding(handle: string): LooksBinding {
  return { ...looksOf(handle), looksVersion };
}

/**
 * Recomputes the looks of all users whose looks are of another version, or missing.
 * Idempotent, even if several processes open the file at once. Errors: native.
 */
export function refreshLooks(native: Native, file: string, log: Log | undefined): void {
  // Look at both ends of the index only, so that opening a database takes the same time however many users it has.
  const versions = native.query<{ low: string | null; high: string | null }, []>(
    "SELECT (SELECT min(looks_version) FROM users) AS low, (SELECT max(looks_version) FROM users) AS high",
  );
  const { low, high } = versions.get() ?? { low: null, high: null };
  if ((low ?? looksVersion) === looksVersion && (high ?? looksVersion) === looksVersion) return;
  const stale = native.query<{ signPub: string; handle: string }, [string]>(
    "SELECT sign_pub AS signPub, handle FROM users WHERE looks_version <> ?",
  );
  const update = native.query<never, [LooksBinding & { readonly signPub: string }]>(
    "UPDATE users SET look1 = $look1, look2 = $look2, looks_version = $looksVersion WHERE sign_pub = $signPub",
  );
  const step = native.transaction(() => {
    const users = stale.all(looksVersion);
    for (const { signPub, handle } of users) update.run({ signPub, ...looksBinding(handle) });
    log?.info(`recomputed the look-alike keys of ${users.length} handles`, { file, version: looksVersion });
  });
  step.immediate();
}
