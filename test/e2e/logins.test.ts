import { expect, test } from "bun:test";
import { Server } from "../support/executable.ts";
import { addUser, dial } from "../support/peer.ts";

test("logins of stock clients and of the SDK's, many at once, are all let in", async () => {
  await using server = await Server.start({ args: ["--set", "auth-callout.connections_per_user=1000"] });
  const user = await addUser(server, "ana");
  const outcomes = await Promise.all(
    Array.from({ length: 120 }, async (_, index) => {
      const connection = await dial(server, user, { stock: index % 3 === 0 }).catch(String);
      if (typeof connection === "string") return connection;
      await connection.close();
      return "in";
    }),
  );
  expect(outcomes.filter((outcome) => outcome !== "in")).toEqual([]);
}, 30_000);
