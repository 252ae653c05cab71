/** All mutants: every limit that can be removed from a copy of the code, and the tests that must detect that. */
import { adminMutants } from "./admin.ts";
import { clientMutants } from "./client.ts";
import { loginMutants } from "./logins.ts";
import type { Mutant } from "./mutant.ts";
import { raceMutants } from "./races.ts";
import { requestMutants } from "./requests.ts";
import { roomMutants } from "./rooms.ts";
import { storeMutants } from "./stores.ts";

export const mutants: readonly Mutant[] = [
  ...adminMutants,
  ...clientMutants,
  ...loginMutants,
  ...raceMutants,
  ...requestMutants,
  ...roomMutants,
  ...storeMutants,
];
