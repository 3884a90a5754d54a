import type { Failure } from '../../spec/errors.ts';
import { atLeast, type Counts, type Sample, type Tally, tally } from './bake.ts';

/** A replica's answers at one gateway, while some replica of its endpoint fails. */
export interface Answering extends Sample {
  /** `<namespace>/<name>`. */
  endpoint: string;
  number: number;
  /** This gateway puts it last for its errors, and has had no good answer from it since. */
  failing: boolean;
}

/** One endpoint, since one of its replicas was first seen failing. */
interface Watched {
  counted: Tally;
  suspects: ReadonlyMap<number, Suspect>;
  replaced: Replacements | null;
}

interface Suspect {
  since: number;
  /** Errors when it was last looked at, and when there was last one more. */
  errors: number;
  lastErrorAt: number;
  /** When it was last to be replaced; null: not yet. */
  toldAt: number | null;
}

/** How many were replaced in a row, and when the last one was. */
interface Replacements {
  count: number;
  at: number;
}

export type OutlierMemory = ReadonlyMap<string, Watched>;

/** A replica that is to be replaced, and why. */
export interface Outlier {
  endpoint: string;
  number: number;
  failure: Failure;
}

/** Put last three times: a gateway leaves a failing replica alone for 10 s each time. */
const LASTING_MS = 30_000;
/** It was tried again and failed again, so long after the first time. */
const AGAIN_MS = 15_000;
/** Beside siblings that answer well, one that fails every other request is broken. */
const BAD_SHARE = 0.5;
/** What was told and did not help was perhaps not heard. */
const TELL_AGAIN_MS = 30_000;
/** The first is replaced at once, each that follows soon after twice as long a wait: never in a loop. */
const BACKOFF_MS = 60_000;
const MAX_BACKOFF_MS = 30 * 60_000;
const FORGOTTEN_AFTER_MS = 2 * MAX_BACKOFF_MS;

/**
 * Replicas that go on answering with errors while their siblings do not, one at a time for each endpoint. Where all of them
 * fail it is the model, or what is asked of it: new replicas would do no better. One that stands alone is judged by the
 * host, which asks it for an inference.
 * @param rows of every endpoint of which a replica fails now
 */
export function outliers(
  before: OutlierMemory,
  rows: readonly Answering[],
  now: number,
): { memory: OutlierMemory; found: Outlier[] } {
  const memory = new Map<string, Watched>();
  const found: Outlier[] = [];
  for (const [endpoint, { replaced }] of before)
    if (replaced !== null && now - replaced.at < FORGOTTEN_AFTER_MS)
      memory.set(endpoint, { counted: {}, suspects: new Map(), replaced });
  for (const [endpoint, own] of byEndpoint(rows)) {
    const known = before.get(endpoint);
    const counted = tally(known && known.suspects.size > 0 ? known.counted : null, own, NO_REVISION);
    const replicas = sumUp(own, counted);
    const suspects = new Map<number, Suspect>();
    for (const replica of replicas.filter((r) => r.failing))
      suspects.set(replica.number, look(known?.suspects.get(replica.number), replica, now));
    let replaced = memory.get(endpoint)?.replaced ?? null;
    const worst = replicas.find((r) => isOutlier(r, replicas, suspects.get(r.number), now));
    const suspect = worst && suspects.get(worst.number);
    if (worst && suspect && mayReplace(suspect, replaced, now)) {
      found.push({ endpoint, number: worst.number, failure: failureOf(worst, suspect, now) });
      if (suspect.toldAt === null) replaced = { count: (replaced?.count ?? 0) + 1, at: now };
      suspects.set(worst.number, { ...suspect, toldAt: now });
    }
    memory.set(endpoint, { counted, suspects, replaced });
  }
  return { memory, found };
}

/** Every replica is counted from now on. */
const NO_REVISION = -1;

function byEndpoint(rows: readonly Answering[]): Map<string, Answering[]> {
  const found = new Map<string, Answering[]>();
  for (const row of rows) found.set(row.endpoint, [...(found.get(row.endpoint) ?? []), row]);
  return found;
}

type Summed = Counts & { number: number; failing: boolean };

/** Over all gateways. */
function sumUp(rows: readonly Answering[], counted: Tally): Summed[] {
  const found = new Map<number, Summed>();
  for (const { gatewayId, replicaId, number, failing } of rows) {
    const { answers = 0, errors = 0 } = counted[`${gatewayId}/${replicaId}`] ?? {};
    const so = found.get(number) ?? { number, failing: false, answers: 0, errors: 0 };
    found.set(number, {
      number,
      failing: so.failing || failing,
      answers: so.answers + answers,
      errors: so.errors + errors,
    });
  }
  return [...found.values()];
}

function look(known: Suspect | undefined, { errors }: Summed, now: number): Suspect {
  if (known === undefined) return { since: now, errors, lastErrorAt: now, toldAt: null };
  return errors > known.errors ? { ...known, errors, lastErrorAt: now } : known;
}

function isOutlier(
  replica: Summed,
  all: readonly Summed[],
  suspect: Suspect | undefined,
  now: number,
): boolean {
  if (suspect === undefined) return false;
  const { since, lastErrorAt } = suspect;
  const lasts = now - since >= LASTING_MS && lastErrorAt - since >= AGAIN_MS;
  const good = all.some(
    (r) => r.number !== replica.number && !r.failing && r.answers > 0 && atLeast(r) < BAD_SHARE / 2,
  );
  return lasts && good && replica.errors >= replica.answers * BAD_SHARE;
}

function mayReplace({ toldAt }: Suspect, replaced: Replacements | null, now: number): boolean {
  if (toldAt !== null) return now - toldAt >= TELL_AGAIN_MS;
  const wait = replaced === null ? 0 : Math.min(MAX_BACKOFF_MS, BACKOFF_MS * 2 ** (replaced.count - 1));
  return replaced === null || now - replaced.at >= wait;
}

function failureOf({ number, answers, errors }: Summed, { since }: Suspect, now: number): Failure {
  const seconds = Math.round((now - since) / 1000);
  return {
    code: 'ENGINE_ERRORS',
    message:
      `replica ${number} answered ${errors} of ${answers} requests with 5xx or a broken connection for ${seconds} s ` +
      'while others of this endpoint answered well: it is replaced',
  };
}
