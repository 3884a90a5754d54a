import { mkdirSync, writeFileSync } from 'node:fs';
import { compare, missed, oneDay, table } from './autoscale/compare.ts';
import { plot } from './autoscale/plot.ts';
import { SHAPES } from './autoscale/traces.ts';

/**
 * The autoscaler on six shapes of load beside a Knative-style and an HF-style policy, simulated: no clock, no chance that
 * is not seeded, the same figures everywhere. Draws `docs/images/autoscale-*.svg`. Bar: requests wait less than under either on
 * every shape, with fewer replica-seconds than the Knative-style policy, all shapes together.
 */
const IMAGES = new URL('../docs/images/', import.meta.url);

mkdirSync(IMAGES, { recursive: true });
for (const shape of SHAPES) {
  const { trace, outcomes } = oneDay(shape, 1);
  writeFileSync(new URL(`autoscale-${shape.name}.svg`, IMAGES), plot(trace, outcomes));
}
const rows = compare();
console.log('thousands of seconds that requests waited / thousands of replica-seconds; means of five days\n');
console.log(table(rows));
console.log('\n95th percentile of a wait, in seconds');
for (const { shape, policy, p95WaitSeconds } of rows)
  console.log(`  ${shape.padEnd(12)} ${policy.padEnd(14)} ${p95WaitSeconds.toFixed(1)}`);
const misses = missed(rows);
console.log(misses.length === 0 ? '\nbar: met' : `\nbar: MISSED\n  ${misses.join('\n  ')}`);
process.exit(misses.length === 0 ? 0 : 1);
