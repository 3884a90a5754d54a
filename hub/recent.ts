/** Keeps the last answers to questions whose answer cannot change. A failed one is asked again. */
export class Recent<T> {
  private readonly most: number;
  private readonly kept = new Map<string, Promise<T>>();

  constructor(most: number) {
    this.most = most;
  }

  get(key: string, ask: () => Promise<T>): Promise<T> {
    const known = this.kept.get(key);
    if (known) {
      // The order of a map is that of insertion, so that the first key is the one longest not asked for.
      this.kept.delete(key);
      this.kept.set(key, known);
      return known;
    }
    const asked = ask();
    this.kept.set(key, asked);
    asked.catch(() => this.kept.delete(key));
    const [oldest] = this.kept.keys();
    if (this.kept.size > this.most && oldest !== undefined) this.kept.delete(oldest);
    return asked;
  }
}
