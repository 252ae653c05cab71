/** Benchmark: logins per second through the auth callout, and how long a reconnect storm takes. */
import { writeFileSync } from "node:fs";
import { connect, type NatsConnection, type nkeyAuthenticator } from "nats";
import { natsServer } from "../scripts/nats-server.ts";
import type { Identity } from "../src/client/crypto/identity.ts";
import { Folder, Server, until } from "../test/support/executable.ts";
import { dial, rawSign } from "../test/support/peer.ts";
import { makeUsers, unlimited } from "./support/bus.ts";
import { unlimitedLogins } from "./support/live-peer.ts";
import { each, median, timed } from "./support/measure.ts";
import { workload } from "./workload.ts";

const usersCount = 100;
const atOnce = 32;
const rounds = 5;
const connectsMeasured = 1_000;
const storm = 2_000;

const port = (): number => {
  const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => undefined } });
  const free = probe.port;
  probe.stop(true);
  return free;
};

/** Starts a bare nats-server that is configured with the same users' nkeys. */
async function staticServer(users: readonly Identity[]): Promise<{ url: string } & AsyncDisposable> {
  const folder = new Folder();
  const at = `127.0.0.1:${port()}`;
  const config = { listen: at, authorization: { users: users.map(({ nkey }) => ({ nkey })) } };
  writeFileSync(folder.file("nats.conf"), JSON.stringify(config));
  const argv = [await natsServer(), "-c", folder.file("nats.conf")];
  const child = Bun.spawn(argv, { stdin: "ignore", stdout: "ignore", stderr: "ignore" });
  const [first] = users;
  if (first === undefined) throw new Error("no user");
  await until("the static server answers", () =>
    stock(at, first).then(
      (one) => one.close().then(() => true),
      () => false,
    ),
  );
  return {
    url: at,
    async [Symbol.asyncDispose]() {
      child.kill();
      await child.exited;
      folder[Symbol.dispose]();
    },
  };
}

function stock(servers: string, identity: Identity): Promise<NatsConnection> {
  const signing = (nonce?: string) => {
    const sig = Buffer.from(rawSign(identity, nonce ?? "")).toString("base64url");
    return { nkey: identity.nkey, sig };
  };
  const authenticator = signing as ReturnType<typeof nkeyAuthenticator>;
  return connect({ servers, authenticator, reconnect: false });
}

async function rate(users: readonly Identity[], open: (user: Identity) => Promise<NatsConnection>): Promise<number> {
  const ms = await timed(() =>
    each(connectsMeasured, atOnce, async (index) => {
      const user = users[index % users.length];
      if (user !== undefined) await (await open(user)).close();
    }),
  );
  return (connectsMeasured / ms) * 1_000;
}

async function measure() {
  const args = [...unlimited, ...unlimitedLogins, "--set", "auth-callout.connections_per_user=1000"];
  await using server = await Server.start({ args });
  const users = await makeUsers(server, usersCount);
  await using bare = await staticServer(users);
  const callout = (user: Identity) => dial(server, user, { stock: true });
  const known = (user: Identity) => stock(bare.url, user);
  for (const [open] of [[callout], [known]] as const) await rate(users, open);
  const taken = { callout: [] as number[], bare: [] as number[] };
  for (let round = 0; round < rounds; round++) {
    taken.callout.push(await rate(users, callout));
    taken.bare.push(await rate(users, known));
  }
  const open: NatsConnection[] = [];
  let denied = 0;
  const stormMs = await timed(() =>
    Promise.all(
      Array.from({ length: storm }, async (_, index) => {
        const user = users[index % users.length];
        if (user === undefined) return;
        await dial(server, user).then(
          (one) => open.push(one),
          () => {
            denied += 1;
          },
        );
      }),
    ),
  );
  await Promise.all(open.map((one) => one.close()));
  return {
    rate: { value: median(taken.callout), limit: median(taken.bare) },
    storm: { value: stormMs },
    denied: { value: denied },
  };
}

/** Measures what the auth callout adds to a login. */
export const connects = workload({
  name: "connects",
  goal: { rate: { unit: "/s", ofLimit: 0.5 }, storm: { unit: "ms", atMost: 10_000 }, denied: { unit: "", atMost: 0 } },
  recipe:
    `${connectsMeasured} connects and closes by ${usersCount} users, ${atOnce} at once, from one process, median ` +
    `of ${rounds}; limit: a bare nats-server with the same users in its file; storm: ${storm} peers at once`,
  run: measure,
});
