/**
 * Times in classes that grow by the square root of two, so that a quantile read from them is right but for that factor,
 * from a millisecond to a quarter of an hour: class 0 is up to 1 ms, class `i` up to 2^(i/2) ms, the last one all that is
 * longer. Counts by class can be added, over processes and over time.
 */
export const CLASSES = 42;

export function classOf(ms: number): number {
  return ms <= 1 ? 0 : Math.min(Math.ceil(2 * Math.log2(ms)), CLASSES - 1);
}

/** Upper bound of a class in milliseconds; that of the last one is nominal. */
export function boundOf(index: number): number {
  return 2 ** (index / 2);
}

/** The time that a share `q` (0 to 1) of all counted stayed within, in milliseconds; null when nothing was counted. */
export function quantile(counts: readonly number[], q: number): number | null {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total === 0) return null;
  let rank = q * total;
  for (const [index, count] of counts.entries()) {
    if (count > 0 && rank <= count) {
      const low = index === 0 ? 0 : boundOf(index - 1);
      return low + ((boundOf(index) - low) * Math.max(rank, 0)) / count;
    }
    rank -= count;
  }
  return boundOf(counts.length - 1);
}

export function addCounts(a: readonly number[], b: readonly number[]): number[] {
  return Array.from({ length: Math.max(a.length, b.length) }, (_, i) => (a[i] ?? 0) + (b[i] ?? 0));
}
