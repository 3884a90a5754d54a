const SHARD = /^(?<stem>.+)-(?<index>\d{5})-of-(?<count>\d{5})(?<ending>\.\w+)$/;

/** Parts of one model, `model-00001-of-00003.safetensors` and the like. */
export interface ShardSet {
  /** Name of the index that lists the parts: `model.safetensors.index.json`. */
  index: string;
  present: string[];
  missing: string[];
}

/** The sets of parts among these names, each with the parts it lacks. */
export function shardSets(paths: readonly string[]): ShardSet[] {
  const sets = new Map<string, { stem: string; ending: string; count: string; present: string[] }>();
  for (const path of paths) {
    const { stem, count, ending } = SHARD.exec(path)?.groups ?? {};
    if (stem === undefined || count === undefined || ending === undefined) continue;
    const key = `${stem}-${count}${ending}`;
    const set = sets.get(key) ?? { stem, ending, count, present: [] };
    set.present.push(path);
    sets.set(key, set);
  }
  return [...sets.values()].map(({ stem, ending, count, present }) => ({
    index: `${stem}${ending}.index.json`,
    present,
    missing: partNames(stem, ending, count).filter((name) => !present.includes(name)),
  }));
}

/** More parts than any model has: a name that claims more is no part of a set. */
const MAX_PARTS = 4096;

function partNames(stem: string, ending: string, count: string): string[] {
  const length = Math.min(Number(count), MAX_PARTS);
  return Array.from(
    { length },
    (_, index) => `${stem}-${String(index + 1).padStart(5, '0')}-of-${count}${ending}`,
  );
}

/** Whether a file is a part of a larger one. */
export function isShard(path: string): boolean {
  return SHARD.test(path);
}
