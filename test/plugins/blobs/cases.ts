/**
 * The common promises of every blob store: a blob is stored completely or not at all, once, and charged to its first
 * uploader within a quota. `blobs.test.ts` and `blobs-nats.test.ts` run these cases.
 * Source: docs/reference/http.md, docs/protocol/limits.md.
 */
import { describe, expect, test } from "bun:test";
import { blobBytesMin } from "../../../src/contracts/blobs.ts";
import { bytesOf, hashOf, mebibyte, type OpenBlobs, pieces, Shelf } from "./shelf.ts";

/** The cases; `open` opens an empty store. */
export function blobCases(name: string, open: () => Promise<OpenBlobs>): void {
  describe(`${name}: a blob`, () => {
    test("is returned unchanged, as an attachment that no browser interprets as anything else", async () => {
      await using shelf = await Shelf.open(await open());
      for (const size of [4, 1_000, mebibyte, 3 * mebibyte + 1]) {
        const bytes = bytesOf(size, size);
        expect(await shelf.post("ana", pieces(bytes))).toMatchObject({ status: 201, hash: hashOf(bytes) });
        const found = await shelf.get(hashOf(bytes));
        expect(found?.headers).toMatchObject({
          "content-type": "application/octet-stream",
          "content-disposition": "attachment",
          "x-content-type-options": "nosniff",
        });
        expect(hashOf(found?.bytes ?? new Uint8Array())).toBe(hashOf(bytes));
      }
      expect(await shelf.get("0".repeat(64))).toBeNull();
    });

    test("whose hash is promised is stored under it, and recognized later without the promise", async () => {
      await using shelf = await Shelf.open(await open());
      const bytes = bytesOf(1, 700_000);
      expect(await shelf.post("ana", pieces(bytes), { hash: hashOf(bytes) })).toMatchObject({
        status: 201,
        hash: hashOf(bytes),
      });
      expect(await shelf.post("bo", pieces(bytes))).toMatchObject({ status: 200, hash: hashOf(bytes) });
      expect((await shelf.get(hashOf(bytes)))?.bytes).toEqual(bytes);
    });

    test("may be empty", async () => {
      await using shelf = await Shelf.open(await open());
      const nothing = new Uint8Array();
      expect(await shelf.post("ana", pieces(nothing))).toMatchObject({ status: 201, hash: hashOf(nothing) });
      expect((await shelf.get(hashOf(nothing)))?.bytes).toHaveLength(0);
    });

    test("that is stored already is answered with 200, and charged once to every uploader", async () => {
      await using shelf = await Shelf.open(await open());
      const bytes = bytesOf(1, 5_000);
      expect((await shelf.post("ana", pieces(bytes))).status).toBe(201);
      for (const owner of ["ana", "bo", "ana"]) expect((await shelf.post(owner, pieces(bytes))).status).toBe(200);
      expect([await shelf.store.bytesOf("ana"), await shelf.store.bytesOf("bo")]).toEqual([5_000, 5_000]);
      await using again = await Shelf.open(await shelf.blobs.again());
      expect([await again.store.bytesOf("ana"), await again.store.bytesOf("bo")]).toEqual([5_000, 5_000]);
      expect(await shelf.blobs.leftovers()).toEqual([]);
    });

    test("that is uploaded many times at once is stored once, and charged once to each uploader", async () => {
      await using shelf = await Shelf.open(await open());
      const bytes = bytesOf(1, mebibyte);
      const owners = Array.from({ length: 12 }, (_, i) => `owner${i % 3}`);
      const posted = await Promise.all(owners.map((owner) => shelf.post(owner, pieces(bytes))));
      expect(new Set(posted.map(({ hash }) => hash))).toEqual(new Set([hashOf(bytes)]));
      const charges = () => Promise.all([0, 1, 2].map((i) => shelf.store.bytesOf(`owner${i}`)));
      expect(await charges()).toEqual([mebibyte, mebibyte, mebibyte]);
      await using again = await Shelf.open(await shelf.blobs.again());
      const later = await Promise.all([0, 1, 2].map((i) => again.store.bytesOf(`owner${i}`)));
      expect(later).toEqual(await charges());
    });
  });

  describe(`${name}: an incomplete upload`, () => {
    /** Some chunks, then `then`: an error, or a wait that the test ends. */
    async function* broken(count: number, then: () => Promise<void>): AsyncGenerator<Uint8Array> {
      for (let i = 0; i < count; i++) yield bytesOf(i, 300_000);
      await then();
    }

    test("leaves no file, is not charged, and does not reveal the sender's error", async () => {
      await using shelf = await Shelf.open(await open());
      const fails = async () => {
        throw new Error("the sender went away");
      };
      // A sender's error is not a disk error, but callers still see no details of it.
      const posted = await shelf.post("ana", broken(4, fails));
      expect(posted).toMatchObject({ status: "unavailable", hash: null });
      expect(posted.message).not.toContain("went away");
      expect(await shelf.blobs.leftovers()).toEqual([]);
      expect(await shelf.store.bytesOf("ana")).toBe(0);
    });

    test("cannot be read in progress: a blob is either complete or absent", async () => {
      await using shelf = await Shelf.open(await open());
      const whole = Buffer.concat([0, 1, 2].map((i) => bytesOf(i, 300_000)));
      const hash = hashOf(whole);
      const more = Promise.withResolvers<void>();
      const posting = shelf.post(
        "ana",
        broken(3, () => more.promise),
      );
      let largest = 0;
      while (largest < whole.length / 2) {
        await Bun.sleep(1);
        expect(await shelf.get(hash)).toBeNull();
        largest = await shelf.blobs.underWay();
      }
      more.resolve();
      let seen = await shelf.get(hash);
      while (seen === null) {
        await Bun.sleep(1);
        seen = await shelf.get(hash);
      }
      expect(hashOf(seen.bytes)).toBe(hash);
      expect((await posting).status).toBe(201);
    });
  });

  describe(`${name}: the quota`, () => {
    test("is shown with its size and a fix, and ends at the exact byte", async () => {
      await using shelf = await Shelf.open(await open(), 10_000);
      expect((await shelf.post("ana", pieces(bytesOf(1, 4_200)))).status).toBe(201);
      expect((await shelf.post("ana", pieces(bytesOf(2, 5_800)))).status).toBe(201);
      const refused = await shelf.post("ana", pieces(bytesOf(3, 4)));
      expect(refused).toMatchObject({
        status: "quota",
        message: "blob quota exceeded: 10000 bytes for each user (ask an admin for more)",
      });
      expect((await shelf.post("bo", pieces(bytesOf(3, 10_000)))).status).toBe(201);
      expect((await shelf.post("cy", pieces(bytesOf(4, 10_001)))).status).toBe("quota");
      expect(await shelf.store.bytesOf("cy")).toBe(0);
      expect(await Array.fromAsync(shelf.store.list())).toHaveLength(3);
      expect(await shelf.blobs.leftovers()).toEqual([]);
    });

    test("refuses an upload at the first byte over it, not at the end", async () => {
      await using shelf = await Shelf.open(await open(), 6_000);
      let taken = 0;
      async function* endless(): AsyncGenerator<Uint8Array> {
        for (; taken < 100_000; taken += 400) yield bytesOf(taken, 400);
      }
      expect((await shelf.post("ana", endless())).status).toBe("quota");
      expect(taken).toBeLessThanOrEqual(6_400);
      expect(await shelf.blobs.leftovers()).toEqual([]);
    });

    test("holds for many uploads at once, in whichever order they end", async () => {
      await using shelf = await Shelf.open(await open(), 8 * mebibyte);
      const posted = await Promise.all(
        Array.from({ length: 24 }, (_, i) => shelf.post("ana", pieces(bytesOf(i, mebibyte), 1_024 * (64 + 8 * i)))),
      );
      const stored = posted.filter(({ status }) => status === 201).length;
      expect(posted.filter(({ status }) => status === "quota")).toHaveLength(24 - stored);
      expect(stored).toBeLessThanOrEqual(8);
      expect(await shelf.store.bytesOf("ana")).toBe(stored * mebibyte);
      await using again = await Shelf.open(await shelf.blobs.again());
      expect(await again.store.bytesOf("ana")).toBe(stored * mebibyte);
    });

    test("admits exactly as many concurrent uploads as fit, if they declare their size", async () => {
      await using shelf = await Shelf.open(await open(), 8 * mebibyte);
      const all = Array.from({ length: 24 }, (_, i) =>
        shelf.post("ana", pieces(bytesOf(i, mebibyte), 1_024 * (64 + 8 * i)), { size: mebibyte }),
      );
      const posted = await Promise.all(all);
      expect(posted.filter(({ status }) => status === 201)).toHaveLength(8);
      expect(posted.filter(({ status }) => status === "quota")).toHaveLength(16);
      expect(await shelf.store.bytesOf("ana")).toBe(8 * mebibyte);
    });

    test("charges a blob of two bytes 4 KiB, also for many at once, and after a restart", async () => {
      await using shelf = await Shelf.open(await open(), 10 * blobBytesMin);
      const tiny = (i: number) => shelf.post("ana", pieces(bytesOf(i, 4)), { size: i % 2 === 0 ? 4 : null });
      const posted = await Promise.all(Array.from({ length: 30 }, (_, i) => tiny(i)));
      expect(posted.filter(({ status }) => status === 201)).toHaveLength(10);
      expect(posted.filter(({ status }) => status === "quota")).toHaveLength(20);
      expect(await shelf.store.bytesOf("ana")).toBe(10 * blobBytesMin);
      await using again = await Shelf.open(await shelf.blobs.again(), 10 * blobBytesMin);
      expect(await again.store.bytesOf("ana")).toBe(10 * blobBytesMin);
      expect((await again.post("ana", pieces(bytesOf(99, 4)))).status).toBe("quota");
    });

    test("counts each of many blobs that fit", async () => {
      await using shelf = await Shelf.open(await open(), 8 * mebibyte);
      for (let round = 0; round < 2; round++) {
        const some = [0, 1, 2, 3].map((i) => shelf.post("ana", pieces(bytesOf(round * 4 + i, mebibyte))));
        expect((await Promise.all(some)).map(({ status }) => status)).toEqual([201, 201, 201, 201]);
      }
      expect(await shelf.store.bytesOf("ana")).toBe(8 * mebibyte);
      expect((await shelf.post("ana", pieces(bytesOf(9, 4)))).status).toBe("quota");
    });

    test("is refunded when an upload fails", async () => {
      await using shelf = await Shelf.open(await open(), mebibyte);
      async function* breaksOff(): AsyncGenerator<Uint8Array> {
        yield bytesOf(1, 900_000);
        throw new Error("gone");
      }
      for (let i = 0; i < 5; i++) expect((await shelf.post("ana", breaksOff())).status).toBe("unavailable");
      expect((await shelf.post("ana", pieces(bytesOf(2, mebibyte)))).status).toBe(201);
    });
  });

  describe(`${name}: deleting a blob`, () => {
    test("gives the quota back at once, and the bytes are gone; another uploader's claim keeps them", async () => {
      await using shelf = await Shelf.open(await open(), mebibyte);
      const [mine, shared] = [bytesOf(1, 900_000), bytesOf(2, 600_000)];
      expect((await shelf.post("ana", pieces(mine))).status).toBe(201);
      expect((await shelf.post("ana", pieces(shared))).status).toBe("quota");
      expect(await shelf.release("ana", hashOf(mine))).toBe("released");
      expect(await shelf.store.bytesOf("ana")).toBe(0);
      expect(await shelf.get(hashOf(mine))).toBeNull();
      for (const owner of ["ana", "bo"]) await shelf.post(owner, pieces(shared));
      expect(await shelf.release("ana", hashOf(shared))).toBe("released");
      expect([await shelf.store.bytesOf("ana"), await shelf.store.bytesOf("bo")]).toEqual([0, 600_000]);
      expect((await shelf.get(hashOf(shared)))?.bytes).toEqual(shared);
      await using again = await Shelf.open(await shelf.blobs.again());
      expect(await again.store.bytesOf("bo")).toBe(600_000);
      expect(await again.release("bo", hashOf(shared))).toBe("released");
      expect(await again.get(hashOf(shared))).toBeNull();
      expect(await Array.fromAsync(again.store.list())).toEqual([]);
      expect(await again.blobs.leftovers()).toEqual([]);
    });

    test("without a claim is not found, and takes nothing from those who have one", async () => {
      await using shelf = await Shelf.open(await open());
      const bytes = bytesOf(1, 5_000);
      await shelf.post("ana", pieces(bytes));
      expect(await shelf.release("bo", hashOf(bytes))).toBe("not_found");
      expect(await shelf.release("ana", hashOf(bytesOf(9)))).toBe("not_found");
      expect((await shelf.get(hashOf(bytes)))?.bytes).toEqual(bytes);
      expect(await shelf.release("ana", hashOf(bytes))).toBe("released");
      expect(await shelf.release("ana", hashOf(bytes))).toBe("not_found");
      expect((await shelf.post("bo", pieces(bytes))).status).toBe(201);
    });

    test("raced by itself and by uploads never leaves a claim without its bytes, or a wrong charge", async () => {
      await using shelf = await Shelf.open(await open());
      const bytes = bytesOf(1, 300_000);
      const hash = hashOf(bytes);
      for (let round = 0; round < 8; round++) {
        await shelf.post("ana", pieces(bytes));
        const ends = await Promise.all([
          shelf.release("ana", hash),
          shelf.release("ana", hash),
          shelf.post("bo", pieces(bytes)).then(() => "posted"),
          shelf.release("bo", hash),
        ]);
        expect(ends.filter((end) => end === "released").length).toBeGreaterThan(0);
        const owners = (await Array.fromAsync(shelf.store.list())).map(({ owner }) => owner);
        const charges = [await shelf.store.bytesOf("ana"), await shelf.store.bytesOf("bo")];
        expect(charges).toEqual(["ana", "bo"].map((owner) => (owners.includes(owner) ? 300_000 : 0)));
        expect((await shelf.get(hash)) !== null).toBe(owners.length > 0);
        if (owners.includes("bo")) await shelf.release("bo", hash);
      }
      await using again = await Shelf.open(await shelf.blobs.again());
      expect([await again.store.bytesOf("ana"), await again.store.bytesOf("bo")]).toEqual([0, 0]);
    });
  });

  test("every claim is listed once, with the user who is charged for it", async () => {
    await using shelf = await Shelf.open(await open());
    expect(await Array.fromAsync(shelf.store.list())).toEqual([]);
    for (const [owner, seed] of [
      ["ana", 1],
      ["bo", 2],
      ["ana", 3],
      ["bo", 1],
    ] as const) {
      await shelf.post(owner, pieces(bytesOf(seed)));
    }
    const listed = (await Array.fromAsync(shelf.store.list())).map(({ hash, owner }) => `${owner} ${hash}`);
    const wanted = [
      ["ana", 1],
      ["bo", 2],
      ["ana", 3],
      ["bo", 1],
    ] as const;
    expect(listed.sort()).toEqual(wanted.map(([owner, seed]) => `${owner} ${hashOf(bytesOf(seed))}`).sort());
  });
}
