/**
 * Texts of about 1 MiB that are almost frames, on which a careless parser takes far too long or overflows the stack.
 */
import { frameBytesMax } from "../../src/wire/frame.ts";

/** Builds them from the text of a valid frame with a payload on the subject room.general. */
export function largeTexts(wire: string): string[] {
  const room = frameBytesMax - wire.length;
  const before = wire.indexOf('"p":"') + 5;
  const after = wire.indexOf('"', before);
  const withPayload = (payload: string) => wire.slice(0, before) + payload + wire.slice(after);
  const withSubject = (subject: string) => wire.replace("room.general", subject);
  const long = "A".repeat(4 * Math.floor(room / 4));
  return [
    ...[`${long}!`, `${long}=A`, `${long}===`, long.slice(1), `${long.slice(4)}AAB=`].map(withPayload),
    withPayload(long).slice(0, -1),
    withPayload(long).replace('"sig"', '"gis"'),
    ...["a.".repeat(room / 2), `${"a.".repeat(room / 2)}a`, `a.${"a".repeat(room)}`, "a".repeat(room)].map(withSubject),
    "[".repeat(frameBytesMax),
    '{"b":'.repeat(frameBytesMax / 5),
    '"'.repeat(frameBytesMax),
  ];
}
