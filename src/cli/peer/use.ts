import { existsSync } from "node:fs";
import { isCleartext } from "../../client/transport/http.ts";
import { UnibusError } from "../../wire/errors.ts";
import { CliCommand } from "../cli-command.ts";
import { type PrintOptions, printJson, printNote, printTable } from "../print.ts";
import { identityOption } from "./identity.ts";
import { defaultIdentityFile } from "./identity-file.ts";
import { configFile, type KnownBus, knownBus, remember, remembered } from "./remembered.ts";

interface UseOptions extends PrintOptions {
  readonly identity?: string;
}

async function use(url: string | undefined, options: UseOptions): Promise<void> {
  const { known } = remembered();
  if (url === undefined) await list(known, options);
  else choose(url, options);
}

function choose(url: string, options: UseOptions): void {
  const { inUse, known } = remembered();
  const asked = knownBus(url, options.identity || defaultIdentityFile());
  const before = options.identity ? undefined : known.find(({ bus }) => bus === asked.bus);
  const chosen = before ?? (options.identity || inUse === null ? asked : { ...asked, identity: inUse.identity });
  remember(chosen, { uses: true });
  if (options.json) printJson(chosen);
  else printNote(`commands now use ${chosen.bus} and the identity ${chosen.identity} (saved in ${configFile()})`);
  if (!existsSync(chosen.identity))
    printNote(`note: no identity at ${chosen.identity} yet (get one: unibus join LINK)`);
  if (chosen.bus.split(",").some(isCleartext)) printNote(`warning: the connection to ${chosen.bus} is not encrypted`);
}

async function list(known: readonly KnownBus[], { json }: UseOptions): Promise<unknown> {
  if (json) return printJson({ known });
  if (known.length === 0) throw new UnibusError("not_found", "no bus is remembered (choose one: unibus use URL)");
  const rows = known.map(({ bus, identity }, at) => [`${at === 0 ? "*" : " "} ${bus}`, identity]);
  return printTable(["  BUS", "IDENTITY"], rows);
}

/** The command `use [URL]`, which chooses the bus for client commands. */
export function useCommand(): CliCommand {
  return new CliCommand("use", {
    summary: "choose the bus for commands without --url; without a URL, list the buses that you know",
    example: "unibus use https://bus.example.org",
  })
    .argument("[url]", "URL of the bus, or several, separated by commas")
    .addOption(identityOption())
    .option("--json", "print JSON")
    .action(use);
}
