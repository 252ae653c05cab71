/** The most parallel works of one operation, so that a large one does not block the small ones. */
const sideBySideMax = 64;

/**
 * Runs `work` for each item with limited concurrency, and returns the results in order. Errors: the first of `work`.
 */
export async function sideBySide<A, B>(items: readonly A[], work: (item: A) => Promise<B>): Promise<B[]> {
  const results: B[] = new Array(items.length);
  let next = 0;
  const run = async (): Promise<void> => {
    for (let at = next++; at < items.length; at = next++) results[at] = await work(items[at] as A);
  };
  await Promise.all(Array.from({ length: Math.min(sideBySideMax, items.length) }, run));
  return results;
}
