import manifest from "../../package.json";

/** The version of this executable. */
export const version: string = manifest.version;
