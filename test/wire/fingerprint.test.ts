/** Fingerprints and room links, compared with values of an independent program. Source: docs/protocol/rooms.md. */
import { describe, expect, test } from "bun:test";
import * as fingerprint from "../../src/wire/fingerprint.ts";
import { vectors } from "../support/vectors.ts";

const room = vectors.room_fingerprint;
const user = vectors.user_fingerprint;

describe("a fingerprint", () => {
  test("of a room and of a user equals that of the independent program", () => {
    expect(fingerprint.roomFingerprintText(room)).toBe(room.hashed_text);
    expect(fingerprint.roomFingerprint(room)).toBe(room.fingerprint);
    expect(fingerprint.userFingerprintText(user.sign_pub)).toBe(user.hashed_text);
    expect(fingerprint.userFingerprint(user.sign_pub)).toBe(user.fingerprint);
  });

  test.each([room, user])("reads as $words", ({ fingerprint: digits, words }) => {
    expect(fingerprint.fingerprintWords(digits)).toBe(words);
    expect(fingerprint.parseFingerprint(words)).toBe(digits);
    expect(fingerprint.parseFingerprint(digits)).toBe(digits);
    expect(fingerprint.parseFingerprint(` ${words.toUpperCase().replaceAll(" ", ", ")}.\n`)).toBe(digits);
    expect(fingerprint.parseFingerprint(digits.toUpperCase())).toBe(digits);
  });

  test.each(["0".repeat(22), "f".repeat(22), "00000000000000000007ff", "8000000000000000000001"])(
    "%s survives the conversion to words and back",
    (digits) => {
      const words = fingerprint.fingerprintWords(digits);
      expect(words.split(" ")).toHaveLength(8);
      expect(fingerprint.parseFingerprint(words)).toBe(digits);
    },
  );

  test.each(["", "abandon", "abandon ".repeat(7), "abandon ".repeat(9), "unibus ".repeat(8), "0".repeat(21)])(
    "is not %p",
    (text) => {
      expect(fingerprint.parseFingerprint(text)).toBeNull();
    },
  );
});

describe("a room link", () => {
  const parts = { url: room.public_url, roomId: room.room_id, fingerprint: room.fingerprint };

  test("is written and read", () => {
    expect(fingerprint.roomLink(parts)).toBe(room.link);
    expect(fingerprint.roomLink({ ...parts, url: `${room.public_url}/` })).toBe(room.link);
    expect(fingerprint.parseRoomLink(room.link)).toEqual(parts);
    const below = "https://example.org/bus";
    expect(fingerprint.parseRoomLink(fingerprint.roomLink({ ...parts, url: below }))?.url).toBe(below);
  });

  const { link } = room;
  const pasted = [`<${link}>`, ` ${link}\n`, `${link}.`, `"${link}",`, `(${link})`, link.replace("#", "%23")];
  test.each([...pasted, link.replace(parts.fingerprint, parts.fingerprint.toUpperCase())])("is read in %p", (text) => {
    expect(fingerprint.parseRoomLink(text)).toEqual(parts);
  });

  test.each([
    ...["room.general", room.room_id, "", `${room.public_url}/room#${room.room_id}`, link.slice(0, -1), `${link}0`],
    ...[link.replace("https:", "ftp:"), link.replace("/room#", "/join#"), link.replace(room.room_id, "8".repeat(26))],
  ])("is not %p", (text) => {
    expect(fingerprint.parseRoomLink(text)).toBeNull();
  });
});
