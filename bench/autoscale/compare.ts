import { knative, managed, ours } from './policies.ts';
import { type Outcome, simulate } from './simulate.ts';
import { SHAPES, traceOf } from './traces.ts';

/** Each shape on so many days; figures are means over them. */
const DAYS = 5;

export interface Row {
  shape: string;
  policy: string;
  /** Seconds that requests waited, thousands. */
  waiting: number;
  p95WaitSeconds: number;
  replicaSeconds: number;
}

export const POLICIES = ['this system', 'Knative-style', 'HF-style'] as const;

/** One day of one shape under each policy, in the order of `POLICIES`. */
export function oneDay(shape: (typeof SHAPES)[number], seed: number) {
  const trace = traceOf(shape, seed);
  const outcomes = [ours(trace.startSeconds), knative(), managed()].map((policy) => simulate(trace, policy));
  return { trace, outcomes };
}

/** Every shape under every policy. */
export function compare(days = DAYS): Row[] {
  return SHAPES.flatMap((shape) => {
    const seeds = Array.from({ length: days }, (_, i) => i + 1);
    const outcomes = seeds.flatMap((seed) => oneDay(shape, seed).outcomes);
    return POLICIES.map((policy) => {
      const own = outcomes.filter((o) => o.policy === policy);
      const mean = (of: (o: Outcome) => number) => own.reduce((sum, o) => sum + of(o), 0) / own.length;
      return {
        shape: shape.name,
        policy,
        waiting: mean((o) => o.waitingSeconds),
        p95WaitSeconds: mean((o) => o.p95WaitSeconds),
        replicaSeconds: mean((o) => o.replicaSeconds),
      };
    });
  });
}

/** What of the bar is missed, in words. */
export function missed(rows: readonly Row[]): string[] {
  const total = (policy: string, of: (row: Row) => number) =>
    rows.filter((r) => r.policy === policy).reduce((sum, r) => sum + of(r), 0);
  const out: string[] = [];
  const [own, ...rivals] = POLICIES;
  for (const rival of rivals) {
    for (const row of rows.filter((r) => r.policy === own)) {
      const theirs = rows.find((r) => r.policy === rival && r.shape === row.shape);
      if (theirs && row.waiting >= theirs.waiting) out.push(`${row.shape}: waits no less than ${rival}`);
    }
  }
  if (total(own, (r) => r.replicaSeconds) >= total('Knative-style', (r) => r.replicaSeconds))
    out.push('more replica-seconds than Knative-style, all shapes together');
  return out;
}

/** The table of `docs/autoscaling.md`. */
export function table(rows: readonly Row[]): string {
  const cell = (shape: string, policy: string) => {
    const row = rows.find((r) => r.shape === shape && r.policy === policy);
    return row ? `${thousands(row.waiting)} / ${thousands(row.replicaSeconds)}` : '';
  };
  const shapes = [...new Set(rows.map((r) => r.shape))];
  const sum = (policy: string, of: (row: Row) => number) =>
    thousands(rows.filter((r) => r.policy === policy).reduce((total, r) => total + of(r), 0));
  return [
    `| | ${POLICIES.join(' | ')} |`,
    `| --- | ${POLICIES.map(() => '--- |').join(' ')}`,
    ...shapes.map((shape) => `| ${shape} | ${POLICIES.map((policy) => cell(shape, policy)).join(' | ')} |`),
    `| together | ${POLICIES.map((p) => `${sum(p, (r) => r.waiting)} / ${sum(p, (r) => r.replicaSeconds)}`).join(' | ')} |`,
  ].join('\n');
}

const thousands = (value: number) => (value / 1000).toFixed(1);
