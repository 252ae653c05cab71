/** Many simultaneous logins: the auth callout must answer all of them within the timeout of nats-server. */
import { expect, test } from "bun:test";
import { Server } from "../support/executable.ts";
import { addUser, dial } from "../support/peer.ts";

const logins = 120;

test("many concurrent logins of stock clients and of the SDK are all admitted, and none is denied", async () => {
  await using server = await Server.start({ args: ["--set", "auth-callout.connections_per_user=1000"] });
  const user = await addUser(server, "ana");
  /** Retries a login that a busy server drops, as every client does. A denial is not retried. */
  const login = async (stock: boolean): Promise<string> => {
    const connection = await dial(server, user, { stock }).catch(String);
    if (typeof connection === "string")
      return /ECONNRESET|CONNECTION_REFUSED|TIMEOUT/.test(connection) ? login(stock) : connection;
    await connection.close();
    return "in";
  };
  const outcomes = await Promise.all(Array.from({ length: logins }, (_, index) => login(index % 3 === 0)));
  expect(outcomes.filter((outcome) => outcome !== "in")).toEqual([]);
}, 60_000);
