/** Drops chosen messages from what nats-server sends to a client: for a proxy in front of it. */
import type { Filter } from "./tcp-proxy.ts";

const lineEnd = Buffer.from("\r\n");

/** Passes everything on but the messages for which `isDropped` is true. Their payloads are frames. */
export function dropMessages(isDropped: (payload: string) => boolean): () => Filter {
  return () => {
    let rest: Buffer<ArrayBufferLike> = Buffer.alloc(0);
    return {
      fromClient: (bytes) => bytes,
      fromServer: (bytes) => {
        rest = Buffer.concat([rest, bytes]);
        const passed: Buffer[] = [];
        for (let end = rest.indexOf(lineEnd); end >= 0; end = rest.indexOf(lineEnd)) {
          const words = rest.subarray(0, end).toString().split(" ");
          const isMessage = words[0] === "MSG" || words[0] === "HMSG";
          const length = end + 2 + (isMessage ? Number(words.at(-1)) + 2 : 0);
          if (rest.length < length) break;
          const whole = rest.subarray(0, length);
          if (!isMessage || !isDropped(whole.subarray(end).toString())) passed.push(whole);
          rest = rest.subarray(length);
        }
        return Buffer.concat(passed);
      },
    };
  };
}
