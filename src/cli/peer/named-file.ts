/** Files named on the command line, sent with their progress on a terminal. */
import type { FileInput, FileOptions, FileProgress, Room, Sent } from "../../client/index.ts";
import { waitFor } from "../../client/transport/wait.ts";
import { UnibusError } from "../../wire/errors.ts";
import { openNamed } from "../input.ts";
import { Progress } from "../progress.ts";
import { sizeText } from "./message-lines.ts";

/** Shows on a terminal how far a transfer is. */
export function transferProgress(what: string, total: number | null): Progress {
  return new Progress(what, total ?? 0, sizeText);
}

/** The media type that a file's name suggests, or undefined. */
function mediaTypeOf(path: string): string | undefined {
  const { type } = Bun.file(path);
  return type === "application/octet-stream" ? undefined : type;
}

/** A stream of chunks. Errors: invalid if there are none. */
async function filled(chunks: AsyncIterable<Uint8Array>, what: string): Promise<ReadableStream<Uint8Array>> {
  const iterator = chunks[Symbol.asyncIterator]();
  let next = await iterator.next();
  if (next.done) throw new UnibusError("invalid", `${what} is empty (name a file with content)`);
  return new ReadableStream<Uint8Array>({
    pull: async (controller) => {
      if (next.done) return controller.close();
      controller.enqueue(next.value);
      next = await iterator.next();
    },
    // Not awaited: a pipe may be silent for ever.
    cancel: () => void iterator.return?.(),
  });
}

/** What a command line names: a file by its path; what comes from a pipe or a device as a stream without a name. */
async function inputOf(path: string): Promise<FileInput> {
  if (path === "-") return filled(Bun.stdin.stream(), "stdin");
  const { stream, size } = await openNamed(path);
  if (size === null) return filled(stream, path);
  if (size === 0) throw new UnibusError("invalid", `${path} is empty (name a file with content)`);
  return path;
}

/** Sends a file named on the command line; `-` is stdin. Errors: those of `room.sendFile`. */
export async function sendNamedFile(room: Room, path: string, options: FileOptions): Promise<Sent> {
  // A pipe may stay silent, and a named one opens only with a writer.
  const input = await waitFor(inputOf(path), options.signal);
  const name = options.name ?? (typeof input === "string" ? path : undefined);
  const mediaType = options.mediaType ?? (name === undefined ? undefined : mediaTypeOf(name));
  let progress: Progress | null = null;
  const onProgress = ({ done, total }: FileProgress): void => {
    progress ??= transferProgress(`sending ${path === "-" ? "stdin" : path}:`, total);
    progress.report(done);
  };
  try {
    return await room.sendFile(input, { ...options, mediaType, onProgress });
  } finally {
    (progress as Progress | null)?.[Symbol.dispose]();
  }
}
