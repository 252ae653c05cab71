import { createPrivateKey, X509Certificate } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { UnibusError } from "../wire/errors.ts";

/** The texts of a certificate chain and its private key, PEM. */
export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
}

/** The result of `read`, or null if it throws. */
function attempt<T>(read: () => T): T | null {
  try {
    return read();
  } catch {
    return null;
  }
}

/**
 * Reads and checks the certificate and the key.
 * Errors: invalid, naming the option, if a file is missing or not PEM, or if the two do not match.
 */
export function readTlsFiles(certFile: string | undefined, keyFile: string | undefined): TlsFiles {
  const refuse = (option: string, what: string) =>
    new UnibusError("invalid", `${option}: ${what} (give both --tls-cert and --tls-key)`);
  const read = <T>(option: string, file: string | undefined, parse: (text: string) => T): [string, T] => {
    if (file === undefined) throw refuse(option, "not set");
    const text = existsSync(file) ? attempt(() => readFileSync(file, "utf8")) : null;
    if (text?.startsWith("\ufeff")) {
      const hint = "save the file without it";
      throw new UnibusError("invalid", `${option}: ${file} begins with a byte order mark (${hint})`);
    }
    const parsed = text === null ? null : attempt(() => parse(text));
    if (text === null || parsed === null) throw refuse(option, `${file} is not a readable PEM file`);
    return [text, parsed];
  };
  const [cert, certificate] = read("--tls-cert", certFile, (text) => new X509Certificate(text));
  const [key, privateKey] = read("--tls-key", keyFile, (text) => createPrivateKey(text));
  if (!certificate.checkPrivateKey(privateKey)) throw refuse("--tls-key", `${keyFile} is not the key of ${certFile}`);
  return { cert, key };
}

/**
 * The TLS 1.2 cipher suites that a listener offers: forward secrecy and authenticated encryption, no CBC.
 * By their IANA names, as nats-server expects them. (The suites of TLS 1.3 are all good, and not configurable.)
 * Source: docs/protocol/requests.md.
 */
export const tls12Suites: readonly string[] = [
  "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
  "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
  "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
  "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
  "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
  "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];

/** The same suites by their OpenSSL names, as a cipher list. */
export const tls12Ciphers: string = tls12Suites
  .map((name) => name.replace(/^TLS_(\w+)_WITH_/, "$1-").replace("_POLY1305_SHA256", "-POLY1305"))
  .map((name) => name.replace(/AES_(\d+)_/, "AES$1-").replaceAll("_", "-"))
  .join(":");
