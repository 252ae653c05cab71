/** Certificates of an authority that exists for one test. */
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { Folder } from "./executable.ts";

/** The files of a certificate and its key. */
export interface CertificateFiles {
  readonly cert: string;
  readonly key: string;
}

/** A certificate authority with its own key. Lives until the scope ends. */
export class Authority implements Disposable {
  readonly #folder = new Folder();
  /** The PEM file of the authority's certificate, for clients to trust. */
  readonly file = this.#folder.file("ca.pem");

  constructor() {
    this.#openssl(`req -x509 ${newKey("ca.key")} -subj /CN=authority -days 2 -out ca.pem`);
  }

  /** Issues a certificate for this machine, or for other names. `name` distinguishes its files. */
  issue(name: string, names = "IP:127.0.0.1,DNS:localhost"): CertificateFiles {
    writeFileSync(this.#folder.file("names"), `subjectAltName=${names}\n`);
    this.#openssl(`req ${newKey(`${name}.key`)} -subj /CN=${name} -out ${name}.csr`);
    const signed = `-CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out ${name}.pem`;
    this.#openssl(`x509 -req -in ${name}.csr ${signed}`);
    return { cert: this.#folder.file(`${name}.pem`), key: this.#folder.file(`${name}.key`) };
  }

  [Symbol.dispose](): void {
    this.#folder[Symbol.dispose]();
  }

  #openssl(args: string): void {
    execFileSync("openssl", args.split(" "), { cwd: this.#folder.path, stdio: "pipe" });
  }
}

const newKey = (file: string): string => `-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ${file}`;
