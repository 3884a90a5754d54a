import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { compare, missed, table } from '../../../bench/autoscale/compare.ts';

describe('policy: autoscale beside others', () => {
  it('lets requests wait less than a Knative-style and an HF-style policy, and the page says by how much', function () {
    this.timeout(300_000);
    const rows = compare();
    assert.deepEqual(missed(rows), []);
    const page = readFileSync(new URL('../../../docs/autoscaling.md', import.meta.url), 'utf8');
    assert.ok(page.includes(table(rows)), `docs/autoscaling.md should have\n${table(rows)}`);
  });
});
