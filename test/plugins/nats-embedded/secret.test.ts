/**
 * The cluster secret and the keys derived from it. Derived keys are fixed for ever: nodes of different versions must
 * agree.
 */
import { describe, expect, test } from "bun:test";
import { chmodSync, writeFileSync } from "node:fs";
import { deriveSecrets, readClusterSecret } from "../../../src/plugins/nats-embedded/secret.ts";
import { Folder } from "../../support/executable.ts";

const secret = Uint8Array.from({ length: 32 }, (_, index) => index);

describe("the keys derived from a cluster secret", () => {
  test("are the same on every node and in every version", () => {
    expect(deriveSecrets(secret)).toEqual({
      route: "74d2b25e63257029f257eba890b51f858696b563c5aef7bae76a2987db191f55",
      internal: {
        issuer_seed: "ifkwoc0txtxTGhHFSMBwtOI2WkWDYyYnYv69p0tuUZg=",
        passwords: {
          BUS: "ZK4LRyqMU31R6+szhHxzvwjK3HcwP/7CuVdFlhYqNKA=",
          CTL: "YZswYZ8aPxPFmGhKw5uNFDq2Ko5HwVa9Pt2nTQKL1kc=",
          AUTH: "/oMvDKV8WSq3lnIeTXwpwRZwfDY64XrApLUNhpOVsxM=",
          SYS: "mzYC/1Lj2Wqo8MCWGZg6MRI9GXtNaYCgA+Xdnf9/Af0=",
        },
      },
    });
  });

  test("differ for each use, and entirely for another secret", () => {
    const all = (bytes: Uint8Array): string[] => {
      const { route, internal } = deriveSecrets(bytes);
      return [Buffer.from(route, "hex").toString("base64"), internal.issuer_seed, ...Object.values(internal.passwords)];
    };
    const [these, others] = [all(secret), all(secret.map((byte) => byte ^ 1))];
    expect(new Set([...these, ...others]).size).toBe(12);
  });
});

describe("a cluster secret", () => {
  const text = Buffer.from(secret).toString("base64");

  test("is read from a file that only its owner can read, or from the environment", () => {
    using folder = new Folder();
    const file = folder.file("secret");
    writeFileSync(file, `${text}\n`, { mode: 0o600 });
    expect(readClusterSecret({ file })).toEqual(secret);
    process.env.UNIBUS_TEST_SECRET = text;
    expect(readClusterSecret({ variable: "UNIBUS_TEST_SECRET" })).toEqual(secret);
    delete process.env.UNIBUS_TEST_SECRET;
  });

  test("is refused, with a fix, if other users can read the file", () => {
    using folder = new Folder();
    const file = folder.file("secret");
    writeFileSync(file, text, { mode: 0o600 });
    for (const mode of [0o640, 0o604, 0o660, 0o644]) {
      chmodSync(file, mode);
      const message = `nats-embedded.cluster.secret_file: ${file} is readable by other users (chmod 600 ${file})`;
      expect(() => readClusterSecret({ file })).toThrow(message);
    }
  });

  test("is refused if it is invalid, without repeating it in the error", () => {
    using folder = new Folder();
    const file = folder.file("secret");
    for (const wrong of ["", "short", text.slice(1), `${text}\n${text}`, Buffer.alloc(33).toString("base64")]) {
      writeFileSync(file, wrong, { mode: 0o600 });
      const read = () => readClusterSecret({ file });
      expect(read).toThrow("nats-embedded.cluster.secret_file: ");
      if (wrong !== "") expect(read).not.toThrow(wrong);
    }
    expect(() => readClusterSecret({})).toThrow(
      "nats-embedded.cluster.secret_file: a cluster needs a secret (create one for all",
    );
    expect(() => readClusterSecret({ variable: "UNIBUS_NOT_SET" })).toThrow("cluster.secret_env: a cluster needs a");
    expect(() => readClusterSecret({ file: folder.path })).toThrow(
      `${folder.path} is not a regular file of at most 16 KiB (name another file)`,
    );
    expect(() => readClusterSecret({ file: "/gone" })).toThrow("/gone cannot be read (choose a file that unibus can");
  });
});
