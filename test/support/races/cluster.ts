/** Three nodes of one bus inside the test's process, so that the two commands of a race can go to different nodes. */
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { freePorts } from "../cluster.ts";
import { Folder } from "../executable.ts";
import { bootInProcess, type InProcess } from "../in-process.ts";
import { Pauses } from "./pauses.ts";
import { randomOf } from "./race.ts";
import { type Stage, settings, stageOf } from "./stage.ts";

/** How often to start a cluster again because another process took one of its ports. */
const attemptsMax = 3;
const nodesCount = 3;

async function bootNodes(secretFile: string, pauses: Pauses): Promise<InProcess[]> {
  const ports = await freePorts(nodesCount);
  const routes = ports.map((port) => `nats-route://127.0.0.1:${port}`);
  const boots = ports.map((port, index) => {
    const node = { server_name: `node-${index}`, name: "races", listen: `127.0.0.1:${port}`, routes };
    return bootInProcess({
      flags: { decentralized: true },
      between: pauses.between,
      settings: {
        ...settings,
        "nats-embedded": { cluster: { ...node, secret_file: secretFile } },
        "store-kv": { replicas: nodesCount },
      },
    });
  });
  const settled = await Promise.allSettled(boots);
  const booted = settled.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
  const failed = settled.find((one) => one.status === "rejected");
  if (failed === undefined) return booted;
  await Promise.all(booted.map((one) => one[Symbol.asyncDispose]()));
  throw failed.reason;
}

/** Starts three nodes as a stage of races. Lives until the scope ends. */
export async function startCluster(seed: number): Promise<Stage & AsyncDisposable> {
  const folder = new Folder();
  const secretFile = folder.file("secret");
  writeFileSync(secretFile, randomBytes(32).toString("base64"), { mode: 0o600 });
  const pauses = new Pauses(randomOf(seed));
  for (let attempt = 1; ; attempt++) {
    try {
      const [first, ...others] = await bootNodes(secretFile, pauses);
      if (first === undefined) throw new Error("no node was booted");
      const stage = await stageOf([first, ...others], pauses);
      return {
        ...stage,
        async [Symbol.asyncDispose]() {
          await Promise.all(stage.nodes.map((node) => node[Symbol.asyncDispose]()));
          folder[Symbol.dispose]();
        },
      };
    } catch (error) {
      if (attempt === attemptsMax || !/address is in use|address already in use/.test(String(error))) throw error;
    }
  }
}
