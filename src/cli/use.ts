import { existsSync } from "node:fs";
import { Command } from "commander";
import { isCleartext } from "../client/http.ts";
import { UnibusError } from "../wire/errors.ts";
import { identityOption } from "./identity.ts";
import { defaultIdentityFile } from "./identity-file.ts";
import { type PrintOptions, printJson, printNote, printRow } from "./print.ts";
import { configFile, type KnownBus, knownBus, remember, remembered } from "./remembered.ts";

interface UseOptions extends PrintOptions {
  readonly identity?: string;
}

function use(url: string | undefined, options: UseOptions): void {
  const { known } = remembered();
  if (url === undefined) list(known, options);
  else choose(url, options);
}

function choose(url: string, options: UseOptions): void {
  const { inUse, known } = remembered();
  const asked = knownBus(url, options.identity || defaultIdentityFile());
  const before = options.identity ? undefined : known.find(({ bus }) => bus === asked.bus);
  const chosen = before ?? (options.identity || inUse === null ? asked : { ...asked, identity: inUse.identity });
  remember(chosen, { uses: true });
  if (options.json) printJson(chosen);
  else printNote(`commands use ${chosen.bus} as ${chosen.identity} (remembered in ${configFile()})`);
  if (!existsSync(chosen.identity))
    printNote(`note: there is no identity at ${chosen.identity} yet (unibus join LINK)`);
  if (chosen.bus.split(",").some(isCleartext)) printNote(`warning: ${chosen.bus} is not encrypted on the way`);
}

function list(known: readonly KnownBus[], { json }: UseOptions): void {
  if (json) printJson({ known });
  else if (known.length === 0) throw new UnibusError("not_found", "no bus is remembered (name one: unibus use URL)");
  else for (const [at, { bus, identity }] of known.entries()) printRow(`${at === 0 ? "*" : " "} ${bus}`, identity);
}

/** `use [URL]`: choose the bus that commands talk to. Source: spec 17. */
export function useCommand(): Command {
  return new Command("use")
    .description("choose the bus that commands use without --url; without a URL, list the buses that are known")
    .argument("[url]", "the bus; several addresses of one bus with commas between")
    .addOption(identityOption())
    .option("--json", "print JSON")
    .addHelpText("after", "\nExample: unibus use https://bus.example.org")
    .action(use);
}
