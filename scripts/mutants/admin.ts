/** Mutants of what bounds the lists for admins, and of what keeps a restored user out of rooms. */
import type { Mutant } from "./mutant.ts";

const lists = "test/plugins/admin/lists.test.ts";
const rules = "test/plugins/users/rules.test.ts";

export const adminMutants: readonly Mutant[] = [
  {
    name: "a page of rooms looks at `limit` rooms",
    file: "src/plugins/admin/index.ts",
    search: "rooms.listRooms(after, limit)",
    replace: "rooms.listRooms(after, 1_000)",
    held: [{ file: lists, test: "only `next` says" }],
  },
  {
    name: "a page of usage looks at `limit` users",
    file: "src/plugins/admin/index.ts",
    search: "normalKey(after), limit)",
    replace: "normalKey(after), 1_000)",
    held: [{ file: lists, test: "only `next` says" }],
  },
  {
    name: "a page of connections has at most `limit` of them",
    file: "src/plugins/auth-callout/logins.ts",
    search: "if (found.length === limit) break;",
    replace: "",
    held: [{ file: lists, test: "who is connected" }],
  },
  {
    name: "the pages of an admin's list ascend",
    file: "src/client/admin.ts",
    search: "if (after !== undefined && !isAfter(next, after)) break;",
    replace: "",
    held: [{ file: "test/attacks/lists-without-end.test.ts", test: "for an admin" }],
  },
  {
    name: "a restored user comes back to no room of an interrupted revocation",
    file: "src/plugins/users/rules.ts",
    search: "await this.#leaveRooms(user.endpoint);",
    replace: "",
    held: [{ file: rules, test: "is in no room" }],
  },
  {
    name: "only a revocation before the restoration is void after a restore",
    file: "src/cli/server/restore-rules.ts",
    search: "denials.toReversed().filter",
    replace: "[...denials].filter",
    held: [{ file: "test/cli/restore-rules.test.ts", test: "restored after the last revocation" }],
  },
];
