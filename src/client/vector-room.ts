/** What the files of test vectors share: the types, and the room and the ids of their examples. */
import type { Identity } from "./crypto/identity.ts";

/** A value of an example: hex, base64 or text, in the encoding that the protocol uses, or a group of such values. */
export type VectorValue = string | number | boolean | Vector | readonly VectorValue[];

/** Inputs and outputs of one example. */
export interface Vector {
  readonly [name: string]: VectorValue;
}

/** All groups of vectors: each one or a list. Source: docs/protocol/README.md. */
export type Vectors = Readonly<Record<string, Vector | readonly Vector[]>>;

/** The room of the examples, its members, and results that other groups build on. */
export interface VectorRoom {
  readonly roomId: string;
  readonly subject: string;
  readonly roomKeys: readonly [Uint8Array, Uint8Array];
  readonly owner: Identity;
  readonly other: Identity;
  /** The text of the room's second statement. */
  readonly statement: string;
  /** The frames of the group `frame`, as sent. */
  readonly frames: readonly [string, string];
}

/** Bytes that count up from a first value. */
export const run = (first: number, count = 32) => Uint8Array.from({ length: count }, (_, i) => first + i);

/** The id of the first frame. */
export const firstId = "01BX5ZZKBKACTAV9WEVGEMMVRZ";
/** The id of the thread that the first frame belongs to. */
export const secondId = "01BX5ZZKBKACTAV9WEVGEMMVS0";
