/** Parts of the targets of control-plane requests, checked before they go into a path. */
import { UnibusError } from "../wire/errors.ts";
import { devicePattern, endpointPattern, ulidPattern } from "../wire/names.ts";

/** The shape of an endpoint id. */
export const endpointShape = new RegExp(endpointPattern);
/** The shape of a device name. */
export const deviceShape = new RegExp(devicePattern);
/** The shape of a blob hash. */
export const hashShape = /^[0-9a-f]{64}$/;
const roomShape = new RegExp(ulidPattern);

/** A part of a target. A bus may have chosen it: what has another shape could become another request. */
export function fit(part: string, shape: RegExp): string {
  if (!shape.test(part))
    throw new UnibusError("invalid", `${JSON.stringify(part)} is no name that fits here (check it)`);
  return part;
}

/** The target of a room, or of a part of it. */
export function at(roomId: string, part = ""): string {
  return `/rooms/${fit(roomId, roomShape)}${part}`;
}
