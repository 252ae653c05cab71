/**
 * Parsing of join links as people paste them: with words around them, line breaks inside, or no scheme.
 * The cases are in test/cases/join-links.json; a refusal must never show the token. Source: docs/protocol/identity.md.
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type JoinLink, parseJoinLink } from "../../src/client/join-link.ts";
import rows from "../cases/join-links.json";

const token = "0123456789abcdef".repeat(4);
const other = "fedcba9876543210".repeat(4);
const url = "http://127.0.0.1:8471";
const base = `${url}/join`;
const link = `${base}#${token}`;

/** The text of a row, with its placeholders expanded. */
function textOf(text: string): string {
  const words: Readonly<Record<string, string>> = {
    "BASE#TOKEN-IN-UPPER-CASE": `${base}#${token.toUpperCase()}`,
    "HTTP://HOST-IN-UPPER-CASE/join#TOKEN": `HTTP://LOCALHOST:8471/join#${token}`,
    "LINK with a line break after 60 characters": `${link.slice(0, 60)}\n${link.slice(60)}`,
    "https://safe.example/?url=PERCENT-ENCODED-LINK&data=x": `https://safe.example/?url=${encodeURIComponent(link)}&data=x`,
    "LINK1 LINK2": `${link} ${base}#${other}`,
    "BASE#63-HEX-DIGITS": `${base}#${token.slice(1)}`,
  };
  return words[text] ?? text.replaceAll("LINK", link).replaceAll("BASE", base).replaceAll("TOKEN", token);
}

/** The link in a text, or the message of the refusal. */
function outcome(text: string): JoinLink | string {
  try {
    return parseJoinLink(text);
  } catch (error) {
    return (error as Error).message;
  }
}

const refusals: Readonly<Record<string, string>> = {
  "fragment stripped": "the link has lost the part after # (ask for the link again, or paste it as plain text)",
  "two different links in one text": "the text contains two join links",
  "63 digits": "the link is cut off: 63 of 64 digits after #",
};

describe("a join link as pasted from an app", () => {
  test.each(rows.map(({ name, text, result }) => [name, text, result] as const))("%s", (name, text, result) => {
    const given = outcome(textOf(text));
    if (result !== "join") return expect(given).toStartWith(refusals[name] ?? "no such row");
    const host = name === "upper-case scheme and host" ? "http://localhost:8471" : url;
    expect(given).toEqual({ url: host, token });
  });
});

const https = `https://bus.example.org/team/chat`;
const long = `${https}/join#${token}`;
const encoded = encodeURIComponent(long);

describe("a join link", () => {
  test.each([
    ["in quoted mail", `> Hello,\n> please join: ${long.slice(0, 70)}\n> ${long.slice(70)}\n> Bye`],
    ["quoted-printable", `${long.slice(0, 50)}=\r\n${long.slice(50)}`],
    ["on indented lines", `  ${long.slice(0, 40)}\n    ${long.slice(40, 80)}\n    ${long.slice(80)}\n`],
    ["with a space in place of a line break", `${long.slice(0, 70)} ${long.slice(70)}`],
    ["before a line that begins with hex digits", `${long}\nbeef and cabbage`],
    ["with a wrapped token before such a line", `${long.slice(0, 70)}\n${long.slice(70)}\nbeef and cabbage`],
    ["given twice", `[${long}](${long})`],
    ["given as text and encoded", `https://safe.example/?u=${encoded} ${long}`],
    ["in Slack's brackets", `<${long}|${long}>`],
    ["in typographic quotes", `“${long}”`],
    ["encoded twice", `https://safe.example/?u=${encodeURIComponent(encoded)}`],
    ["encoded, with a line break in an escape", `https://safe.example/?u=${encoded.replace("%23", "%2\n3")}`],
    ["with a line break in %23", long.replace("#", "%\n23")],
    ["HTML", `<a href="${https}/join&#35;${token}">join</a>`],
    ["in HTML with hex entities", `<a href='${https}/join&#x23;${token}'>`],
    ["in upper case except for the path", long.replace("https://bus.example.org", "HTTPS://BUS.EXAMPLE.ORG")],
    ["/JOIN", long.replace("/join", "/JOIN")],
    ["without a scheme", long.replace("https://", "")],
    ["without a scheme, within a sentence", `it is (${long.replace("https://", "")})`],
    [
      "wrapped by urldefense v2",
      `https://urldefense.proofpoint.com/v2/url?u=https-3A__bus.example.org_team_chat_join-23${token}&d=Dw`,
    ],
    ["wrapped by urldefense v3", `https://urldefense.com/v3/__${https}/join*${token}__;Iw!!abc`],
    ["after another link", `https://example.org/about then ${long}`],
    ["below another link", `https://example.org/about\n${long}`],
    ["with soft hyphens and direction marks", `\u200e${long.slice(0, 30)}\u00ad${long.slice(30)}\u200f`],
    ["with tracking parameters on both sides", `${https}/join/?utm_source=a&b=c#${token}?utm_medium=d`],
    ["in brackets, like a mailto link", `(${https}/join#${token}).`],
  ])("is read %s", (_, text) => {
    expect(outcome(text)).toEqual({ url: https, token });
  });

  test("to this machine without a scheme is read as http", () => {
    expect(outcome(link.replace("http://", ""))).toEqual({ url, token });
  });

  test.each([
    ["[::1]:8471", "http://[::1]:8471"],
    ["localhost", "http://localhost"],
    ["127.0.0.1:80", "http://127.0.0.1"],
  ])("to this machine is read: %s", (host, expected) => {
    expect(outcome(`http://${host}/join#${token}`)).toEqual({ url: expected, token });
  });

  test("is read with a line break at any position, and with words before and after it", () => {
    for (let at = 1; at < long.length; at++) {
      for (const gap of ["\n", "\r\n", "\n  ", " \n> "]) {
        const text = `You are invited\n${long.slice(0, at)}${gap}${long.slice(at)}\nBye`;
        expect([at, outcome(text)]).toEqual([at, { url: https, token }]);
      }
    }
  });
});

describe("an invalid join link", () => {
  test.each([
    ["has 65 digits", `${https}/join#${token}a`, "the link is damaged: 65 digits after #, expected 64"],
    ["was shortened by an app", `${https}/join#${token.slice(0, 20)}…`, "the link is cut off: 20 of 64"],
    ["has nothing after #", `${https}/join#`, "the link has lost the part after #"],
    ["has no #, and a tracking parameter", `${https}/join?utm_source=chat`, "the link has lost the part after #"],
    [
      "has no #, in a redirect",
      `https://safe.example/?u=${encodeURIComponent(`${https}/join`)}`,
      "the link has lost the part after",
    ],
    [
      "is one of two, one of them wrapped",
      `${long}\nor ${https}/join#${other.slice(0, 9)}\n${other.slice(9)}`,
      "the text contains two",
    ],
    [
      "is one of two, one of them encoded",
      `${long} ${encodeURIComponent(`${https}/join#${other}`)}`,
      "the text contains two join links",
    ],
    ["nothing", " \n", "no link given"],
    ["words", "hello", "not a join link"],
    ["has another scheme", `ftp://bus.example.org/join#${token}`, "not a join link"],
    ["has another path", `https://bus.example.org/joining#${token}`, "not a join link"],
    [
      "is plain http to another machine",
      `http://bus.example.org/join#${token}`,
      "http://bus.example.org does not use TLS",
    ],
    [
      "has a user before the host",
      `https://me@bus.example.org/join#${token}`,
      "the link contains a user name before bus.example.org",
    ],
    [
      "has a password before the host",
      `https://:pw@bus.example.org/join#${token}`,
      "the link contains a user name before",
    ],
    [
      "hides a host in the user part",
      `http://127.0.0.1@example.org/join#${token}`,
      "http://127.0.0.1@example.org does not use TLS",
    ],
    ["is in a text over the size limit", `${link} ${"x".repeat(70_000)}`, "the text with the join link is too long"],
  ])("that %s is refused", (_, text, why) => {
    const given = outcome(text);
    expect(given).toStartWith(why);
    expect(given).not.toContain(token);
    expect(given).not.toContain(other);
  });

  test("is refused in bounded time, without its token in the error", () => {
    const pieces = [
      "http://",
      "https://",
      "/join",
      "#",
      token,
      token.slice(1),
      "\n",
      " ",
      "%23",
      "&",
      "a.b",
      "?",
      "<",
      ")",
    ];
    const began = performance.now();
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...pieces), { maxLength: 60 }), (parts) => {
        const given = outcome(parts.join(""));
        if (typeof given === "string") expect(given).not.toContain(token.slice(0, 32));
        else expect(given.token).toMatch(/^[0-9a-f]{64}$/);
      }),
      { numRuns: 2_000 },
    );
    for (const piece of pieces) outcome(piece.repeat(Math.floor(65_000 / piece.length)));
    expect(performance.now() - began).toBeLessThan(30_000);
  });
});
