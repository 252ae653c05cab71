import { UnibusError } from "../wire/errors.ts";

/** The most pages of one list. nats-server returns at least 256 entries in each. */
const pagesMax = 10_000;

/**
 * Reads a list of JetStream's API page by page. `ask` requests the page from an offset, and `count` returns how many
 * entries a page has. Errors: those of `ask`; unavailable if the list does not end.
 */
export async function* pages<R extends { readonly total?: number }>(
  ask: (offset: number) => Promise<R>,
  count: (page: R) => number,
): AsyncGenerator<R> {
  for (let read = 0, offset = 0; read < pagesMax; read++) {
    const page = await ask(offset);
    yield page;
    offset += count(page);
    if (count(page) === 0 || offset >= (page.total ?? 0)) return;
  }
  throw new UnibusError("unavailable", "a list of JetStream does not end (try again)");
}
