/**
 * Names on the wire: endpoint ids, keys, nkeys, ULIDs, subjects, and the names of streams, consumers and notices.
 * Compared with the test vectors and with other implementations.
 */
import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import fc from "fast-check";
import { Prefix } from "nkeys.js";
import { Codec } from "nkeys.js/lib/codec.js";
import { ulid } from "ulid";
import * as names from "../../src/wire/names.ts";
import { bytes, vectors } from "../support/vectors.ts";

const key32 = fc.uint8Array({ minLength: 32, maxLength: 32 });
const roomId = vectors.blob.room_id;
const { endpoint_id: endpoint, sign_pub: signPub } = vectors.endpoint_id;

describe("endpointId", () => {
  test("equals that of the vectors, from bytes and from hex in either case", () => {
    expect(names.endpointId(bytes(signPub))).toBe(endpoint);
    expect(names.endpointId(signPub)).toBe(endpoint);
    expect(names.endpointId(signPub.toUpperCase())).toBe(endpoint);
    expect(names.endpointId(vectors.wallet.sign_pub)).toBe(vectors.wallet.endpoint_id);
  });

  test("is base64url of sha256 and matches its pattern", () => {
    fc.assert(
      fc.property(key32, (key) => {
        expect(names.endpointId(key)).toBe(createHash("sha256").update(key).digest("base64url"));
        expect(names.endpointId(key)).toMatch(new RegExp(names.endpointPattern));
      }),
    );
  });
});

describe("keys", () => {
  test("are stored in lowercase", () => {
    expect(names.normalKey("AbC0")).toBe("abc0");
  });

  test.each(["", "00", signPub.slice(2), `${signPub}00`, `${signPub.slice(1)}g`])("%j is not a key", (key) => {
    expect(() => names.keyBytes(key)).toThrow(TypeError);
    expect(new RegExp(names.keyPattern).test(key)).toBe(false);
  });
});

describe("nkeys", () => {
  test("have a seed identical to that of NATS's own code", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (seed) => {
        const theirs = new TextDecoder().decode(Codec.encodeSeed(Prefix.User, seed));
        expect(names.userNkeySeed(seed)).toBe(theirs);
      }),
    );
  });

  const ascii = (code: Uint8Array) => new TextDecoder().decode(code);

  test("equal those of the vectors", () => {
    expect(names.userNkey(bytes(vectors.nkey.sign_pub))).toBe(vectors.nkey.nkey);
    expect(names.userNkey(bytes(vectors.nats_connect.sign_pub))).toBe(vectors.nats_connect.nkey);
  });

  test("equal those of another implementation, and read back", () => {
    fc.assert(
      fc.property(key32, (key) => {
        const user = names.userNkey(key);
        expect(user).toBe(ascii(Codec.encode(Prefix.User, key)));
        expect(names.accountNkey(key)).toBe(ascii(Codec.encode(Prefix.Account, key)));
        expect(names.keyOfUserNkey(user)).toEqual(key);
        expect(names.keyOfUserNkey(names.accountNkey(key))).toBeNull();
      }),
    );
  });

  test("with one character changed are invalid", () => {
    const alphabet = [..."ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"];
    fc.assert(
      fc.property(key32, fc.nat(55), fc.constantFrom(...alphabet), (key, place, letter) => {
        const nkey = names.userNkey(key);
        fc.pre(nkey[place] !== letter);
        expect(names.keyOfUserNkey(nkey.slice(0, place) + letter + nkey.slice(place + 1))).toBeNull();
      }),
    );
  });

  const { nkey } = vectors.nkey;
  test.each(["", "U", nkey.slice(1), `${nkey}A`, `${nkey}\n`, nkey.toLowerCase(), `S${nkey.slice(1)}`])(
    "%j is not an nkey",
    (text) => {
      expect(names.keyOfUserNkey(text)).toBeNull();
    },
  );
});

describe("ULIDs", () => {
  test("from the library are valid ULIDs, at every time they can represent", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 48 - 1 }), (time) => {
        expect(names.isUlid(ulid(time))).toBe(true);
      }),
    );
  });

  test.each([
    "",
    roomId.slice(1),
    `${roomId}0`,
    `8${roomId.slice(1)}`,
    roomId.toLowerCase(),
    `${roomId.slice(0, 25)}I`,
    `${roomId.slice(0, 25)}L`,
    `${roomId.slice(0, 25)}O`,
    `${roomId.slice(0, 25)}U`,
    `${roomId}\n`,
    ` ${roomId.slice(1)}`,
  ])("%j is not a ULID", (text) => {
    expect(names.isUlid(text)).toBe(false);
  });
});

describe("subjects", () => {
  const namespaces = [...names.builtinNamespaces, "acme"];
  const token = fc.stringMatching(/^[A-Za-z0-9_-]{1,12}$/);

  test("of plain tokens in a namespace can name a room", () => {
    const tokens = fc.array(token, { minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(fc.constantFrom(...namespaces), tokens, (first, rest) => {
        const subject = [first, ...rest].join(".");
        expect(names.subjectFault(subject, namespaces)).toBeNull();
      }),
    );
  });

  test("contain no wildcard, no white space and nothing that NATS reads as another token", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 30 }), (rest) => {
        if (names.subjectFault(`room.${rest}`, namespaces) !== null) return;
        expect(rest.split(".").every((part) => /^[A-Za-z0-9_-]+$/.test(part))).toBe(true);
      }),
    );
  });

  test("end at the maximum length", () => {
    expect(names.subjectFault(`room.${"x".repeat(195)}`, namespaces)).toBeNull();
    expect(names.subjectFault(`room.${"x".repeat(196)}`, namespaces)).toContain("200");
  });

  test.each([
    ["", "two tokens"],
    ["room", "two tokens"],
    ["room.", "each token"],
    [".room.x", "each token"],
    ["room..x", "each token"],
    ["room.*", "each token"],
    ["room.>", "each token"],
    ["room.a b", "each token"],
    ["room.a\r\n", "each token"],
    ["room.é", "each token"],
    ["room.$JS", "each token"],
    ["$JS.API.x", "each token"],
    ["ROOM.x", "begin with"],
    ["other.x", "begin with"],
    ["unibus.user.x", "begin with"],
    ["_INBOX.x", "begin with"],
    ["_DELIVER.x", "begin with"],
  ])("%j cannot name a room", (subject, why) => {
    expect(names.subjectFault(subject, namespaces)).toContain(why);
  });
});

describe("namespaces", () => {
  test.each(["acme", "Acme-2", "a_b", "0"])("%j can be added", (namespace) => {
    expect(names.namespaceFault(namespace)).toBeNull();
  });
  test.each(["", "a.b", "*", ">", "$SYS", "_x", ...names.reservedNamespaces])("%j cannot be added", (namespace) => {
    expect(names.namespaceFault(namespace)).not.toBeNull();
  });
});

describe("names in JetStream", () => {
  test("of a stream, a consumer, a delivery and a notice are fixed", () => {
    const safe = endpoint.replaceAll("-", "_");
    expect(names.streamName(roomId)).toBe(`UNIBUS_${roomId}`);
    expect(names.consumerName(roomId, endpoint)).toBe(`${roomId}_${safe}`);
    expect(names.consumerName(roomId, endpoint, "main")).toBe(`${roomId}_${safe}`);
    expect(names.consumerName(roomId, endpoint, "phone")).toBe(`${roomId}_${safe}_phone`);
    expect(names.deliverSubject(endpoint, roomId, "phone")).toBe(`_DELIVER.${endpoint}.${roomId}.phone`);
    expect(names.noticeSubject(endpoint, "member")).toBe(`unibus.user.${endpoint}.member`);
  });

  test("contain no character that JetStream interprets", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        expect(names.sanitize(text)).toMatch(/^[A-Za-z0-9_]*$/);
        expect(names.sanitize(text)).toHaveLength(text.length);
      }),
    );
  });
});
