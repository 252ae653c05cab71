/** Returns the longest time for which the event loop did not turn while `work` went on, in milliseconds. */
export async function longestBlock(work: () => Promise<void>): Promise<number> {
  let [worst, last, isOver] = [0, performance.now(), false];
  const watch = async () => {
    while (!isOver) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      const at = performance.now();
      worst = Math.max(worst, at - last);
      last = at;
    }
  };
  const watching = watch();
  await work().finally(() => {
    isOver = true;
  });
  await watching;
  return worst;
}
