/** Makes the Nth call of some ports fail, before or after it takes effect. */

/** When the fault occurs: the call is not made, or it is made and its answer is lost. */
export type FaultMoment = "before" | "after";

/** Chooses the call that fails, counted over all ports that it wraps. At first no call fails. */
export class FaultPlan {
  readonly #fault: () => Error;
  #nth = 0;
  #moment: FaultMoment = "before";
  #calls: string[] = [];
  #underWay = 0;
  /** The method that failed, or null if none has failed yet. */
  failed: string | null = null;

  /** `fault` creates the error that the caller of the port gets. */
  constructor(fault: () => Error) {
    this.#fault = fault;
  }

  /** Makes only the `nth` call from now on fail, counted from 1. */
  arm(nth: number, moment: FaultMoment): void {
    this.#nth = nth;
    this.#moment = moment;
    this.#calls = [];
    this.failed = null;
  }

  /** Lets every call through. */
  rest(): void {
    this.#nth = 0;
  }

  /** Calls that have begun and not ended. */
  get underWay(): number {
    return this.#underWay;
  }

  /** Names of the methods called since `arm`, in order. */
  get calls(): readonly string[] {
    return this.#calls;
  }

  /** Wraps a port so that all its methods, or only `methods`, can fail. Methods in `plain` do not return a promise. */
  wrap<T extends object>(port: T, methods?: readonly string[], plain: readonly string[] = []): T {
    return new Proxy(port, {
      get: (target, name) => {
        const member: unknown = Reflect.get(target, name, target);
        if (typeof member !== "function") return member;
        const method = (...values: unknown[]): unknown => Reflect.apply(member, target, values);
        if (typeof name !== "string" || methods?.includes(name) === false) return method;
        const call = (...values: unknown[]) => this.#call(name, () => method(...values));
        return plain.includes(name) ? call : async (...values: unknown[]) => call(...values);
      },
    });
  }

  #call(name: string, method: () => unknown): unknown {
    this.#calls.push(name);
    const isMeant = this.#calls.length === this.#nth;
    const moment = this.#moment;
    if (isMeant) this.failed = name;
    if (isMeant && moment === "before") throw this.#fault();
    const answer = method();
    if (!(answer instanceof Promise)) {
      if (isMeant) throw this.#fault();
      return answer;
    }
    this.#underWay += 1;
    return answer
      .then((value: unknown) => {
        if (isMeant) throw this.#fault();
        return value;
      })
      .finally(() => {
        this.#underWay -= 1;
      });
  }
}
