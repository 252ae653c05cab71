/** Mutants of limits on HTTP: bodies, nonces, rates, time on the main thread. */
import type { Mutant } from "./mutant.ts";

const bodies = "test/kernel/http-body.test.ts";
const refusedBodies = "test/e2e/refused-bodies.test.ts";
const nonces = "test/plugins/auth/nonces.test.ts";

export const requestMutants: readonly Mutant[] = [
  {
    name: "nonces of one user",
    file: "src/plugins/auth/nonces.ts",
    search: "if ((this.#counts.get(user) ?? 0) >= this.max.user) {",
    replace: "if ((this.#counts.get(user) ?? 0) < 0) {",
    held: [{ file: nonces }],
  },
  {
    name: "nonces of all users",
    file: "src/plugins/auth/nonces.ts",
    search: "if (this.#users.size >= this.max.all) {",
    replace: "if (this.#users.size < 0) {",
    held: [{ file: nonces }],
  },
  {
    name: "budget of request bodies",
    file: "src/kernel/http-body.ts",
    search: "if (held + bytes > bodiesBytesMax) {",
    replace: "if (held + bytes < 0) {",
    held: [{ file: bodies }],
  },
  {
    name: "size of one body",
    file: "src/kernel/http-body.ts",
    search: "if (size > bytesMax) throw tooLarge(bytesMax);",
    replace: "",
    held: [{ file: "test/attacks/body-before-auth.test.ts" }],
  },
  {
    name: "time of one body",
    file: "src/kernel/http-body.ts",
    search: "const left = bodyGraceMs + size / bodyRateMin - (performance.now() - began);",
    replace: "const left = 3_600_000;",
    held: [{ file: bodies }],
  },
  {
    name: "refused bodies that are drained at once",
    file: "src/kernel/http-body.ts",
    search: "if (!this.#isPending || draining >= drainsMax) return text;",
    replace: "if (!this.#isPending) return text;",
    held: [{ file: refusedBodies }],
  },
  {
    name: "bytes of a refused body that are drained",
    file: "src/kernel/http-body.ts",
    search: "for (let size = 0; size < drainBytesMax; ) {",
    replace: "for (let size = 0; ; ) {",
    held: [{ file: refusedBodies }],
  },
  {
    name: "time in which a refused body is drained",
    file: "src/kernel/http-body.ts",
    search: "await inTime(this.#next(), end - performance.now(), tooSlow)",
    replace: "await inTime(this.#next(), 3_600_000 + end, tooSlow)",
    held: [{ file: refusedBodies }],
  },
  {
    name: "http.user_share",
    file: "src/contracts/user-share.ts",
    search: "if (this.#spent(user) > this.#limitMs && this.#isLate()) await this.#wait(user);",
    replace: "",
    held: [{ file: "test/contracts/user-share.test.ts" }, { file: "test/attacks/reads-of-one-user.test.ts" }],
  },
  {
    name: "reads of one user that wait",
    file: "src/contracts/user-share.ts",
    search: "if (this.#waiting.length > waitingMax) {",
    replace: "if (this.#waiting.length < 0) {",
    held: [{ file: "test/contracts/user-share.test.ts" }],
  },
  {
    name: "http.rate of one address",
    file: "src/contracts/limiter.ts",
    search: "if (bucket.tokens >= 1) {",
    replace: "if (bucket.tokens > Number.NEGATIVE_INFINITY) {",
    held: [{ file: "test/kernel/http-limits.test.ts" }],
  },
  {
    name: "directory pages",
    file: "src/plugins/users/directory.ts",
    search: "return { users: found.slice(0, limit), more: found.length > limit };",
    replace: "return { users: found, more: found.length > limit };",
    held: [{ file: "test/plugins/users/directory.test.ts", test: "a page holds" }],
  },
  {
    name: "directory pages have at most 1,000 users",
    file: "src/wire/api.ts",
    search: "export const usersPageMax = 1_000;",
    replace: "export const usersPageMax = 1_000_000;",
    held: [{ file: "test/contracts/limits.test.ts" }],
  },
  {
    name: "histories on their way to one member",
    file: "src/plugins/history/outgoing.ts",
    search: "{ member: 4, all: 16 }",
    replace: "{ member: 4_000, all: 16_000 }",
    held: [{ file: "test/attacks/large-histories-at-once.test.ts" }],
  },
  {
    name: "8 MiB of one history",
    file: "src/wire/api-messages.ts",
    search: "export const historyBytesMax = 8 * 1_048_576;",
    replace: "export const historyBytesMax = 800 * 1_048_576;",
    held: [{ file: "test/contracts/limits.test.ts" }, { file: "test/e2e/history.test.ts", test: "8 MiB" }],
  },
  {
    name: "guesses of invites and signatures",
    file: "src/kernel/http.ts",
    search: "this.#tightLimiter.demand(this.#client(request, app), this.options.now());",
    replace: "this.#client(request, app);",
    held: [{ file: "test/attacks/register-guessing.test.ts" }],
  },
];
