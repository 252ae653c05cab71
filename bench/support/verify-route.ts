/** A bare server with one route that only verifies an Ed25519 signature: the baseline for a signed GET. */
import { verify } from "node:crypto";
import { Elysia } from "elysia";
import { signatureHeaders as names, requestText } from "../../src/wire/sign.ts";

const spkiEd25519 = "302a300506032b6570032100";

function isSigned(request: Request): Promise<boolean> {
  const header = (name: string) => request.headers.get(name) ?? "";
  const host = header(names.host);
  const target = request.url.slice(request.url.indexOf("/", 8));
  const stamp = { ts: header(names.ts), nonce: header(names.nonce), bodyHash: header(names.body) };
  const text = requestText({ host, method: request.method, target, ...stamp });
  const key = Buffer.from(spkiEd25519 + header(names.pub), "hex");
  const sig = Buffer.from(header(names.sig), "base64");
  return new Promise((resolve) => {
    verify(null, Buffer.from(text), { key, format: "der", type: "spki" }, sig, (error, good) => {
      resolve(error === null && good);
    });
  });
}

const app = new Elysia();
app.get("/rooms/:id", async ({ request }) => new Response(null, { status: (await isSigned(request)) ? 200 : 401 }));
app.listen({ hostname: "127.0.0.1", port: 0 });
console.log(app.server?.port);
