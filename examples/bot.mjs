// bot.mjs URL IDENTITY ROOM: a member of a room that answers "!time".
import { readFile } from "node:fs/promises";
import { connect, parseIdentity } from "unibus/client";

const [url, file, name] = process.argv.slice(2);
const identity = await parseIdentity(await readFile(file, "utf8"));
const bus = await connect({ url, identity, state: `${file}.state` });
bus.on("suspicious", ({ what }) => console.error(`suspicious: ${what}`));

const room = await bus.room(name);
const answer = async (message) => {
  if (message.kind === "text" && message.text === "!time") {
    await room.reply(message, `It is ${new Date().toUTCString()}.`);
  }
};
await room.onMessage(answer, { onEnd: (error) => console.error(`no longer in ${name}: ${error}`) });
console.log(`answering in ${name}`);

for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => bus.close());
