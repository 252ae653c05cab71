/** An example of a user's program: the compiler must accept it, and must refuse the marked lines. */
import { type Bus, connect, type Message, type Room, type UnibusError } from "unibus/client";

/** Uses the client. */
export async function use(identity: Bus["identity"]): Promise<string[]> {
  await using bus: Bus = await connect({ url: "https://bus.example.org", identity, state: "memory" });
  const room: Room = await bus.createRoom("room.x", "matrix");
  const messages: readonly Message[] = (await room.history({ limit: 10 })).messages;
  const code: UnibusError["code"] = "room_forked";
  const { time } = bus.info;
  const stop: () => void = await room.onMessage((message) => message.text.length + time.length + code.length);
  stop();
  // @ts-expect-error: there is no such mode.
  await bus.createRoom("room.y", "morse");
  // @ts-expect-error: a room sends text or bytes.
  await room.send(7);
  // @ts-expect-error: an answer is text or bytes.
  await room.respond(() => 7);
  for await (const { text } of room.messages({ from: "start" })) messages.at(0)?.text.concat(text);
  return messages.map(({ text }) => text);
}
