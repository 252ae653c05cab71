/** Makes the Nth call of some ports fail, before it does anything or after it has done it. */

/** When the fault comes: the call is not made, or it is made and its answer is lost. */
export type FaultMoment = "before" | "after";

/** Which call fails, over all ports that are wrapped by it. At first none. */
export class FaultPlan {
  readonly #fault: () => Error;
  #nth = 0;
  #moment: FaultMoment = "before";
  #calls = 0;
  #underWay = 0;
  /** The method that failed, or null as long as none did. */
  failed: string | null = null;

  /** `fault` makes what a caller of the port gets to see. */
  constructor(fault: () => Error) {
    this.#fault = fault;
  }

  /** Lets the `nth` call from now on fail, counted from 1, and no other. */
  arm(nth: number, moment: FaultMoment): void {
    this.#nth = nth;
    this.#moment = moment;
    this.#calls = 0;
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

  /** Calls since it was armed. */
  get calls(): number {
    return this.#calls;
  }

  /** The same port, with its faults: all its methods, or those named. Those in `plain` give no promise. */
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
    this.#calls += 1;
    const isMeant = this.#calls === this.#nth;
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
