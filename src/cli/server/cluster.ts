import { randomBytes } from "node:crypto";
import { InvalidArgumentError } from "commander";
import { Nats } from "../../contracts/nats.ts";
import { toBase64 } from "../../wire/encoding.ts";
import { CliCommand } from "../cli-command.ts";
import { writePrivateFile } from "../peer/identity-file.ts";
import { type PrintOptions, printFields, printNote } from "../print.ts";
import { type HostOptions, hostCommand, onHost } from "./host.ts";
import { scaleStreams } from "./scale.ts";

/** Length of a cluster's secret, in bytes. */
const secretBytes = 32;
/** Maximum number of replicas that nats-server supports. */
const replicasMax = 5;

/** Parses a number of replicas on the command line. */
export function replicasArgument(text: string): number {
  const replicas = Number(text);
  if (Number.isInteger(replicas) && replicas >= 1 && replicas <= replicasMax) return replicas;
  throw new InvalidArgumentError(`Copies, 1 to ${replicasMax}.`);
}

async function init({ out, ...print }: PrintOptions & { readonly out: string }): Promise<void> {
  await writePrivateFile(out, `${toBase64(randomBytes(secretBytes))}\n`);
  printFields({ secret_file: out }, print);
  printNote("copy it to every node with mode 600, and set nats-embedded.cluster.secret_file to its path");
}

async function scale({ replicas, ...options }: HostOptions & { readonly replicas: number }): Promise<void> {
  const work = (nats: Nats) => scaleStreams(nats, replicas, printNote);
  const done = await onHost(options, Nats, work, { needsServer: true });
  printFields({ replicas, ...done }, options);
}

/** The commands `cluster init|scale`. */
export function clusterCommand(): CliCommand {
  const example = "unibus cluster init --out cluster.secret";
  const command = new CliCommand("cluster", { summary: "run several nodes as one bus", example });
  command
    .sub("init", { summary: "create the secret that all nodes of a cluster share", example })
    .requiredOption("--out <file>", "the file to write; it is never overwritten")
    .option("--json", "print JSON")
    .action(init);
  hostCommand(
    command.sub("scale", {
      summary: "change how many nodes have a copy of all data, while they run",
      example: "unibus cluster scale --replicas 3",
    }),
  )
    .requiredOption("--replicas <n>", `copies, 1 to ${replicasMax}`, replicasArgument)
    .option("--json", "print JSON")
    .action(scale);
  return command;
}
