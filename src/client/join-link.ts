/**
 * Finds a join link in the text that a person pasted.
 *
 * Chat apps, mail programs and terminals change links: they add punctuation, brackets and trackers, wrap lines,
 * percent-encode `#`, or wrap the link in a redirect of their own. So the text is searched as it is and with its
 * percent-encoding undone, and a line break may occur anywhere in the link. No error contains the token.
 */
import { baseUrl } from "../wire/address.ts";
import { UnibusError } from "../wire/errors.ts";
import { isCleartext } from "./transport/http.ts";

/** A parsed join link. */
export interface JoinLink {
  /** The URL of the bus, with scheme and host in lower case. */
  readonly url: string;
  /** 64 lowercase hex digits. */
  readonly token: string;
}

/** The longest text to search, in characters. */
const textCharsMax = 65_536;
/** The number of digits in a token. */
const tokenDigits = 64;
/** How many layers of encoding are undone. */
const encodingsMax = 3;

const refusal = (what: string): UnibusError => new UnibusError("invalid", what);
const askAgain = "ask for the link again, or paste it as plain text";

/** Invisible characters: zero-width characters, direction marks, soft hyphens, byte order marks. */
const invisible = /[\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]/g;

/** Removes invisible characters, and what mail programs add at the starts and ends of lines. */
function tidied(text: string): string {
  const lines = text.replace(invisible, "").split(/\r\n?|\n/);
  return lines.map((line) => line.replace(/^[\s>|]+/, "").replace(/[\s=]+$/, "")).join("\n");
}

/** Undoes one layer of encoding: percent escapes, HTML entities for `#` and `&`, and urldefense's formats. */
function decoded(text: string): string {
  const plain = text
    .replace(/&amp;/g, "&")
    .replace(/&#(?:35|x23);/gi, "#")
    .replace(/\/v2\/url\?u=([^&\s]+)/g, (_, url: string) => {
      return ` ${url.replace(/-([0-9a-f]{2})/gi, "%$1").replaceAll("_", "/")} `;
    })
    .replace(/\/v3\/__(\S+?)__;\S*/g, (_, url: string) => ` ${url.replaceAll("*", "#")} `)
    .replace(/%\n?([0-9a-f])\n?([0-9a-f])/gi, "%$1$2");
  return plain.replace(/(?:%[0-9a-f]{2})+/gi, (escapes) => {
    try {
      return decodeURIComponent(escapes);
    } catch {
      return escapes;
    }
  });
}

/** The text as it is, then decoded once, twice, and so on. */
function layersOf(text: string): string[] {
  const layers = [text];
  while (layers.length <= encodingsMax) {
    const next = decoded(layers.at(-1) ?? "");
    if (next === layers.at(-1)) break;
    layers.push(next);
  }
  return layers;
}

/** A pattern for `<url>/join#`, or without the `#`. `gap` may occur between any two characters. */
function pattern(gap: string, end: string): RegExp {
  const spread = (word: string) => [...word].join(gap);
  const scheme = `(${spread("http")}${gap}(?:s${gap})?${spread("://")}${gap}`;
  const base = `(?:(?!https?://)[^\\s<>"\`#?]${gap}){1,300}?)`;
  return new RegExp(`${scheme}${base}${gap}${spread("/join")}${gap}/?${gap}${end}`, "gi");
}

const query = "(?:\\?[^\\s#]*)?\\n?";
const whole = pattern("", `${query}#`);
const wrapped = pattern("\\n?", `${query}#`);
const stripped = pattern("\\n?", "(?![\\w/-])");
/** Links without a scheme. */
const unschemed =
  /(?:^|[\s<("'[])((?:localhost|\[[0-9a-f:.]+\]|[\w-]+(?:\.[\w-]+)+)(?::\d+)?(?:\/[^\s<>"'`#?]*?)?)\/join\/?(?:\?[^\s#]*)?#/gi;

/** Parses what follows `#`: the token, or the number of digits if it is not a token. */
function tokenAt(text: string, at: number): string | number {
  const digits = /^\s?((?:[0-9a-f]\s{0,8})*)/i.exec(text.slice(at, at + textCharsMax))?.[1] ?? "";
  const [first = "", ...rest] = digits.trim().split(/\s+/);
  if (first.length === tokenDigits) return first.toLowerCase();
  // The token may be in several pieces. Join as many as are needed; the token must end where a piece ends.
  let joined = first;
  for (let next = rest.shift(); joined.length < tokenDigits && next !== undefined; next = rest.shift()) joined += next;
  if (joined.length === tokenDigits) return joined.toLowerCase();
  return joined.length < tokenDigits ? joined.length : first.length;
}

/** The result of a search: complete links, and the digit counts of incomplete ones. */
interface Search {
  readonly links: JoinLink[];
  readonly digits: number[];
}

function search(text: string, link: RegExp): Search {
  const found: Search = { links: [], digits: [] };
  for (const match of text.matchAll(link)) {
    const url = normalUrl((match[1] ?? "").replaceAll("\n", ""));
    if (url === null) continue;
    const token = tokenAt(text, match.index + match[0].length);
    if (typeof token === "number") found.digits.push(token);
    else found.links.push({ url, token });
  }
  return found;
}

/** Normalizes a URL: scheme and host in lower case, or null. Without a scheme it is https, or http for this machine. */
function normalUrl(text: string): string | null {
  const isWhole = /^https?:/i.test(text);
  if (baseUrl(isWhole ? text : `https://${text}`) === null) return null;
  const bare = (): string => `${isCleartext(`http://${text}`) ? "https" : "http"}://${text}`;
  const { protocol, username, password, host } = new URL(isWhole ? text : bare());
  const user = username + (password && ":...");
  const path = text.replace(/^(https?:\/\/)?[^/]*/i, "").replace(/\/+$/, "");
  return `${protocol}//${user && `${user}@`}${host}${path}`;
}

/** Searches all layers, the text as it is first. */
function searchAll(layers: readonly string[], link: RegExp): Search {
  const found = layers.map((layer) => search(layer, link));
  return { links: found.flatMap(({ links }) => links), digits: found.flatMap(({ digits }) => digits) };
}

/** The error for a text without a complete link. */
function faultOf(layers: readonly string[], digits: readonly number[]): UnibusError {
  const [count] = digits;
  if (count !== undefined && count > tokenDigits) {
    return refusal(`the link is damaged: ${count} digits after #, expected ${tokenDigits} (${askAgain})`);
  }
  if (count !== undefined && count > 0) {
    return refusal(`the link is cut off: ${count} of ${tokenDigits} digits after # (${askAgain})`);
  }
  if (count === 0 || layers.some((layer) => layer.search(stripped) !== -1)) {
    return refusal(`the link has lost the part after # (${askAgain})`);
  }
  return refusal("not a join link (paste the whole link, as in https://bus.example.org/join#...)");
}

/**
 * Finds the one join link, `<url>/join#<token>`, in a text.
 * Errors: invalid if the text has no complete link, or two, or a link with plain http to another machine, which would
 * expose the token on the way. No error contains the token.
 */
export function parseJoinLink(text: string): JoinLink {
  if (text.trim() === "") throw refusal("no link given (paste the link that you were sent)");
  if (text.length > textCharsMax) throw refusal("the text with the join link is too long (paste only the link)");
  const layers = layersOf(tidied(text));
  const found = [searchAll(layers, whole), searchAll(layers, wrapped)];
  // Only if no complete link was found: a part of one may look like a link without a scheme.
  if (found[0]?.links.length === 0) found.push(searchAll(layers, unschemed));
  const [link, ...others] = found.flatMap(({ links }) => links);
  if (link === undefined) {
    const digits = found.flatMap((search) => search.digits);
    throw faultOf(layers, digits);
  }
  // If a link is wrapped inside its host, the second line alone looks like a link without a scheme.
  const isSame = ({ url, token }: JoinLink) => token === link.token && hostOf(link.url).endsWith(hostOf(url));
  if (!others.every(isSame)) throw refusal("the text contains two join links (paste one of them)");
  return checked(link);
}

const hostOf = (url: string): string => new URL(url).host;

function checked(link: JoinLink): JoinLink {
  if (isCleartext(link.url)) {
    throw refusal(`${link.url.replace(/[0-9a-f]{32,}/gi, "...")} does not use TLS (ask for an https link)`);
  }
  const { username, password } = new URL(link.url);
  if (username !== "" || password !== "")
    throw refusal(
      `the link contains a user name before ${hostOf(link.url).replace(/[0-9a-f]{32,}/gi, "...")} (${askAgain})`,
    );
  return link;
}
