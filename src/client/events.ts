/** What a listener returns to stop listening. */
export type Unlisten = () => void;

/** Names of events, each with what it tells. */
export type EventMap = { readonly [name: string]: unknown };

/** Tells listeners what happens. One that throws is told to `onFault`, and disturbs nobody. */
export class Events<M extends EventMap> {
  readonly #listeners = new Map<keyof M, Set<(detail: never) => void>>();

  constructor(private readonly onFault: (error: unknown) => void) {}

  /** Listens until what is returned is called. */
  on<K extends keyof M>(name: K, listener: (detail: M[K]) => void): Unlisten {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(listener as (detail: never) => void));
    return () => listeners.delete(listener as (detail: never) => void);
  }

  /** Whether anybody listens. */
  isHeard(name: keyof M): boolean {
    return (this.#listeners.get(name)?.size ?? 0) > 0;
  }

  /** Tells all who listen now. */
  tell<K extends keyof M>(name: K, detail: M[K]): void {
    for (const listener of this.#listeners.get(name) ?? []) {
      try {
        (listener as (detail: M[K]) => void)(detail);
      } catch (error) {
        this.onFault(error);
      }
    }
  }
}
