import { UnibusError } from "../wire/errors.ts";

/** What is wrong where no answer came, by what the platform calls it, and the mend. */
const faults: readonly { readonly code: RegExp; readonly what: string; readonly mend: string }[] = [
  { code: /EPROTO|ERR_SSL/, what: "does not speak TLS", mend: "is it http, and not https?" },
  {
    code: /CERT|VERIFY|ISSUER|ALTNAME/,
    what: "has a certificate that is not trusted here",
    mend: "NODE_EXTRA_CA_CERTS=FILE names an authority of your own",
  },
];

/** What the platform calls a failure, or "". */
export function codeOf(failure: unknown): string {
  const { code, cause } = (failure ?? {}) as { readonly code?: unknown; readonly cause?: unknown };
  return typeof code === "string" ? code : cause === undefined ? "" : codeOf(cause);
}

/** The error for a bus that gave no answer. */
export function unreached(url: string, cause: unknown): UnibusError {
  const code = codeOf(cause);
  const rest = { what: "cannot be reached", mend: "is the bus running there?" };
  const { what, mend } = faults.find((fault) => fault.code.test(code)) ?? rest;
  return new UnibusError("unavailable", `${url} ${what}${code && `: ${code}`} (${mend})`, { cause });
}
