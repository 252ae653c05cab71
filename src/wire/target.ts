/** A request's target, exactly as sent, split into path and query. */
export interface Target {
  /** path?query, which a signature covers. */
  readonly target: string;
  readonly path: string;
  /** The query without the question mark. */
  readonly query: string;
}

/**
 * Extracts the target from a request's absolute URL without normalising anything. Returns null if the URL has no host
 * or path.
 */
export function targetOf(url: string): Target | null {
  const start = url.indexOf("/", url.indexOf("//") + 2);
  if (!/^https?:\/\//.test(url) || start === -1) return null;
  const target = url.slice(start);
  const mark = target.indexOf("?");
  if (mark === -1) return { target, path: target, query: "" };
  return { target, path: target.slice(0, mark), query: target.slice(mark + 1) };
}

const hostShape = /^(\[[0-9a-f:.]+\]|[^\s,:/?#@[\]]+)(:\d{1,5})?$/i;

/** Reports whether a Host header is one host[:port], with IPv6 in brackets. */
export function isHost(text: string): boolean {
  return hostShape.test(text);
}

/**
 * Checks whether a path may be routed. Returns the reason why not, or null: an escape hides a separator or is not
 * UTF-8.
 */
export function pathFault(path: string): string | null {
  if (!path.includes("%")) return null;
  if (/%2f|%5c|%00/i.test(path)) return "the path contains an encoded separator (write %2F, %5C and %00 plainly)";
  try {
    decodeURIComponent(path);
    return null;
  } catch {
    return "the path contains an invalid percent-escape (write %XX of UTF-8)";
  }
}
