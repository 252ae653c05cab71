/** The target of a request, exactly as it was sent, and its parts. */
export interface Target {
  /** path?query: what a signature covers. */
  readonly target: string;
  readonly path: string;
  /** Without the question mark. */
  readonly query: string;
}

/** The target of a request's absolute URL, without normalising anything; null where there is no host. */
export function targetOf(url: string): Target | null {
  const start = url.indexOf("/", url.indexOf("//") + 2);
  if (!/^https?:\/\//.test(url) || start === -1) return null;
  const target = url.slice(start);
  const mark = target.indexOf("?");
  if (mark === -1) return { target, path: target, query: "" };
  return { target, path: target.slice(0, mark), query: target.slice(mark + 1) };
}

const hostShape = /^(\[[0-9a-f:.]+\]|[^\s,:/?#@[\]]+)(:\d{1,5})?$/i;

/** Whether a Host header is one host[:port], IPv6 in brackets. */
export function isHost(text: string): boolean {
  return hostShape.test(text);
}

/** Why a path may not be routed, or null: an escape that hides a separator, or that is no UTF-8. */
export function pathFault(path: string): string | null {
  if (!path.includes("%")) return null;
  if (/%2f|%5c|%00/i.test(path)) return "the path hides a separator in an escape (write it plainly)";
  try {
    decodeURIComponent(path);
    return null;
  } catch {
    return "the path holds a bad escape (write %XX of UTF-8)";
  }
}
