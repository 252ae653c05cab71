/** The client's reference says what its doc comments say. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { clientReference, clientReferenceFile } from "../../scripts/client-reference.ts";

test("docs/reference/client.md is made from the doc comments of now", () => {
  const made = clientReference();
  // What is wanted of it: the objects that everybody meets, each with what it does.
  for (const head of ["### Bus", "### Room", "### Message", "### UnibusError"]) expect(made).toContain(`\n${head}\n`);
  if (made !== readFileSync(clientReferenceFile, "utf8")) {
    throw new Error("docs/reference/client.md is out of date: run `bun run reference`, and look at what changed");
  }
});
