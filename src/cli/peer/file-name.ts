/** Characters that a file name cannot have on some system, or that a person cannot see. */
const strange = /[\p{C}\p{Zl}\p{Zp}<>:"/\\|?*]/gu;
/** What makes a file hidden, or looks like an option; and what some systems cut off. */
const edges = /^[\s.-]+|[\s.]+$/gu;
/** Names of devices on Windows, whatever their extension is. */
const device = /^(con|prn|aux|nul|com\d|lpt\d)(?=\.|$)/iu;
/** The longest name of a file, in bytes of UTF-8. */
const nameBytesMax = 255;

/** Cuts a name to a number of bytes, at a character, and keeps its extension. */
function shortened(name: string): string {
  if (Buffer.byteLength(name) <= nameBytesMax) return name;
  const [extension = ""] = /\.[^.]{1,16}$/u.exec(name) ?? [];
  const letters = [...name.slice(0, name.length - extension.length)];
  while (Buffer.byteLength(letters.join("") + extension) > nameBytesMax) letters.pop();
  return letters.join("") + extension;
}

/**
 * The name under which a file of another member is stored in the current folder: never a path, never hidden, never an
 * option of a command. `id`: the message, which names a file without a usable name.
 */
export function savedName(name: string | null, id: string): string {
  const clean = (name ?? "").normalize("NFC").replace(strange, "_").replace(edges, "").replace(device, "_$1");
  return shortened(clean) || `file-${id}`;
}
