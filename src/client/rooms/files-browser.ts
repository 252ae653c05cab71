/** Paths of files, which a browser does not have. Imported as `#files` in a browser. */
import { UnibusError } from "../../wire/errors.ts";

const refuse = async (): Promise<never> => {
  throw new UnibusError("invalid", "a browser has no paths (send a File, and read with stream or bytes)");
};

/** Errors: invalid. */
export const openPath: (path: string) => Promise<never> = refuse;

/** Errors: invalid. */
export const saveFile: (file: unknown, roomOf: unknown, path: string, options: unknown) => Promise<never> = refuse;
