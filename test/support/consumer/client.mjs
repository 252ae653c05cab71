// An example of a user's first program, in plain JavaScript.
import { connect, isUnibusError, parseIdentity } from "unibus/client";

const [url, subject, text] = process.argv.slice(2);
const identity = await parseIdentity(text);
const bus = await connect({ url, identity, state: "state" });
const room = await bus.createRoom(subject, "matrix");
await room.send("from the package");
const { messages } = await room.history();
const code = await bus.room("room.none").catch((error) => isUnibusError(error) && error.code);
await bus.close();
console.log(JSON.stringify({ texts: messages.map((message) => message.text), code }));
