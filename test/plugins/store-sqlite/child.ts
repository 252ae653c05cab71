import { writeSync } from "node:fs";
import { openSqliteStore } from "../../../src/plugins/store-sqlite/store.ts";
import { upTo, userSample } from "../../conformance/store-samples.ts";

// Another process on the same database: `add <file> <n>` adds a user; `claim <file> <key>` claims all pending invites
// and prints each one after its claim was acknowledged.
const [command, file = "", argument = ""] = process.argv.slice(2);
const store = openSqliteStore({ file });
if (command === "add") {
  await store.users.insertUser(userSample(Number(argument)));
  store.close();
} else {
  const pending = await store.invites.listPendingInvites(100_000);
  const claimSome = async () => {
    for (let invite = pending.shift(); invite; invite = pending.shift()) {
      const won = await store.invites.claimInvite(invite.id, { signPub: argument, kexPub: argument, at: 1 });
      if (won) writeSync(1, `${invite.id}\n`);
    }
  };
  await Promise.all(upTo(8).map(claimSome));
  // Wait to be killed: a normal exit would prove nothing.
  setInterval(() => {}, 60_000);
}
