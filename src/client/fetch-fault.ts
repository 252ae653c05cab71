import { UnibusError } from "../wire/errors.ts";

/** Causes of a failed request, by the platform's error code, each with a fix. The first row that matches is used. */
const faults: readonly { readonly code: RegExp; readonly what: (url: string) => string; readonly fix: string }[] = [
  { code: /EPROTO|ERR_SSL/, what: (url) => `${url} does not speak TLS`, fix: "use http:// if it is not encrypted" },
  {
    code: /ALTNAME/,
    what: (url) => `the certificate of ${url} is for another name`,
    fix: "use the name that the certificate is for; to connect elsewhere, add --dial HOST:PORT",
  },
  {
    code: /EXPIRED|NOT_YET_VALID/,
    what: (url) => `the certificate of ${url} is not valid now`,
    fix: "renew it, or set this computer's clock",
  },
  {
    code: /CERT|VERIFY|ISSUER/,
    what: (url) => `the certificate of ${url} is not trusted`,
    fix: "if it comes from your own authority, set NODE_EXTRA_CA_CERTS to the file of its certificate",
  },
  { code: /ENOTFOUND|EAI_/, what: (url) => `${url} cannot be reached: no such host`, fix: "check the name" },
  {
    code: /Malformed_HTTP|HPE_/i,
    what: (url) => `${url} does not speak HTTP`,
    fix: "use the bus's http address, which `unibus serve` prints",
  },
];
const rest: (typeof faults)[number] = {
  code: /^/,
  what: (url) => `${url} cannot be reached`,
  fix: "check the address, and that the bus is running there",
};

/** The platform's code of an error, or "". */
export function codeOf(failure: unknown): string {
  const { code, cause } = (failure ?? {}) as { readonly code?: unknown; readonly cause?: unknown };
  return typeof code === "string" ? code : cause === undefined ? "" : codeOf(cause);
}

/** The error for an address that did not answer. */
export function unreached(url: string, cause: unknown): UnibusError {
  const code = codeOf(cause);
  const { what, fix } = faults.find((fault) => fault.code.test(code)) ?? rest;
  return new UnibusError("unavailable", `${what(url)}${code && `: ${code}`} (${fix})`, { cause });
}
