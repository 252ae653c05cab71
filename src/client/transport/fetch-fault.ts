import { UnibusError } from "../../wire/errors.ts";

/** Causes of a failed request, by the platform's error code, each with a fix. The first row that matches is used. */
const faults: readonly { readonly code: RegExp; readonly what: (url: string) => string; readonly fix: string }[] = [
  { code: /EPROTO|ERR_SSL/, what: (url) => `${url} does not speak TLS`, fix: "if the server has no TLS, use http://" },
  {
    code: /ALTNAME/,
    what: (url) => `the certificate of ${url} is for another host name`,
    fix: "use a name from the certificate; to connect to another host, add --dial HOST:PORT",
  },
  {
    code: /EXPIRED|NOT_YET_VALID/,
    what: (url) => `the certificate of ${url} has expired or is not valid yet`,
    fix: "renew it, or correct this computer's clock",
  },
  {
    code: /CERT|VERIFY|ISSUER/,
    what: (url) => `the certificate of ${url} is not trusted`,
    fix: "if you run your own CA, set NODE_EXTRA_CA_CERTS to its certificate file",
  },
  { code: /ENOTFOUND|EAI_/, what: (url) => `cannot reach ${url}: no such host`, fix: "check the name" },
  {
    code: /Malformed_HTTP|HPE_/i,
    what: (url) => `${url} does not speak HTTP`,
    fix: "use the HTTP address that `unibus serve` prints",
  },
];
const rest: (typeof faults)[number] = {
  code: /^/,
  what: (url) => `cannot reach ${url}`,
  fix: "check the address, and that the server is running",
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
