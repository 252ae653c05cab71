/** Returned by `on`; call it to stop listening. */
export type Unlisten = () => void;

/** Event names, each with the type of its detail. */
export type EventMap = { readonly [name: string]: unknown };

/** A typed event emitter. An error that a listener throws goes to `onFault` and does not affect other listeners. */
export class Events<M extends EventMap> {
  readonly #listeners = new Map<keyof M, Set<(detail: never) => void>>();

  constructor(private readonly onFault: (error: unknown) => void) {}

  /** Adds a listener until the returned function is called. */
  on<K extends keyof M>(name: K, listener: (detail: M[K]) => void): Unlisten {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(listener as (detail: never) => void));
    return () => listeners.delete(listener as (detail: never) => void);
  }

  /** Whether an event has listeners. */
  hasListeners(name: keyof M): boolean {
    return (this.#listeners.get(name)?.size ?? 0) > 0;
  }

  /** Calls all current listeners. */
  emit<K extends keyof M>(name: K, detail: M[K]): void {
    for (const listener of this.#listeners.get(name) ?? []) {
      try {
        (listener as (detail: M[K]) => void)(detail);
      } catch (error) {
        this.onFault(error);
      }
    }
  }
}
