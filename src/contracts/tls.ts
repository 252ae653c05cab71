import { existsSync, readFileSync } from "node:fs";
import { UnibusError } from "../wire/errors.ts";

/** A certificate chain and its key, PEM. */
export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
}

/** Reads certificate and key, now. Errors: invalid, naming the option, when one is missing or no PEM. */
export function readTlsFiles(certFile: string | undefined, keyFile: string | undefined): TlsFiles {
  const read = (option: string, file: string | undefined, header: RegExp): string => {
    const text = file !== undefined && existsSync(file) ? readFileSync(file, "utf8") : "";
    if (header.test(text)) return text;
    const what = file === undefined ? "is missing" : `${file} is no readable PEM file`;
    throw new UnibusError("invalid", `${option}: ${what} (give both --tls-cert and --tls-key)`);
  };
  return {
    cert: read("--tls-cert", certFile, /BEGIN CERTIFICATE/),
    key: read("--tls-key", keyFile, /BEGIN [A-Z ]*PRIVATE KEY/),
  };
}
