/** docs/reference/client.md is generated from the client's doc comments, and must be up to date. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { clientReference, clientReferenceFile } from "../../scripts/client-reference.ts";

test("docs/reference/client.md is up to date with the doc comments", () => {
  const made = clientReference();
  // Expected: the objects that every user meets, each with a description.
  for (const head of ["### Bus", "### Room", "### Message", "### UnibusError"]) expect(made).toContain(`\n${head}\n`);
  if (made !== readFileSync(clientReferenceFile, "utf8")) {
    throw new Error("docs/reference/client.md is out of date: run `bun run reference`, and look at what changed");
  }
});
