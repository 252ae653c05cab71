/** Builds the targets of control-plane requests from parts that it validates first. */
import { UnibusError } from "../../wire/errors.ts";
import { devicePattern, endpointPattern, ulidPattern } from "../../wire/names.ts";

/** The format of an endpoint id. */
export const endpointShape = new RegExp(endpointPattern);
/** The format of a device name. */
export const deviceShape = new RegExp(devicePattern);
/** The format of a blob hash. */
export const hashShape = /^[0-9a-f]{64}$/;
const roomShape = new RegExp(ulidPattern);

/**
 * Returns a path part that has the right format. The server may have chosen the part, and another format could turn the
 * target into a different request. Errors: invalid.
 */
export function fit(part: string, shape: RegExp): string {
  if (!shape.test(part)) throw new UnibusError("invalid", `${JSON.stringify(part)} is not a valid id here (check it)`);
  return part;
}

/** The target of a room, or of a resource below it. */
export function at(roomId: string, part = ""): string {
  return `/rooms/${fit(roomId, roomShape)}${part}`;
}
