import { hkdfSync } from "node:crypto";
import { readSecretFile } from "../../contracts/secret-file.ts";
import { fromBase64, toBase64, toHex } from "../../wire/encoding.ts";
import { UnibusError } from "../../wire/errors.ts";
import type { Internal } from "./internal.ts";

/** Length of a cluster's secret and of each value derived from it, in bytes. */
const secretBytes = 32;

/** The secrets that all nodes of a cluster share. */
export interface ClusterSecrets {
  /** The password by which nodes log in to each other's route port. */
  readonly route: string;
  readonly internal: Internal;
}

/**
 * Reads the secret of a cluster, as `unibus cluster init` writes it: 32 bytes, base64-std.
 * Shape: from a file that only its owner can read, or from an environment variable.
 * Errors: invalid, naming the setting.
 */
export function readClusterSecret(from: { readonly file?: string; readonly variable?: string }): Uint8Array {
  const { file, variable } = from;
  const setting = `nats-embedded.cluster.${file === undefined && variable !== undefined ? "secret_env" : "secret_file"}`;
  const text = file === undefined ? process.env[variable ?? ""]?.trim() : readSecretFile(setting, file);
  if (text === undefined || text === "") {
    const hint = "create one for all nodes with unibus cluster init --out FILE";
    throw new UnibusError("invalid", `${setting}: a cluster needs a secret (${hint})`);
  }
  const secret = fromBase64(text);
  if (secret?.length === secretBytes) return secret;
  const hint = "copy the file from another node, or create one for all with unibus cluster init --out FILE";
  throw new UnibusError("invalid", `${setting}: not a cluster secret (${hint})`);
}

/** Derives all values from a cluster's secret, the same on every node. The labels must never change. */
export function deriveSecrets(secret: Uint8Array): ClusterSecrets {
  const derived = (what: string): Uint8Array =>
    new Uint8Array(hkdfSync("sha256", secret, new Uint8Array(0), `unibus-cluster-${what}-v1`, secretBytes));
  const text = (what: string): string => toBase64(derived(what));
  const passwords = { BUS: text("bus"), CTL: text("ctl"), AUTH: text("auth"), SYS: text("sys") };
  // Hex, because the route's password is part of a URL.
  return { route: toHex(derived("route")), internal: { issuer_seed: text("issuer"), passwords } };
}
