import { writeFileSync } from 'node:fs';
import Mocha from 'mocha';
import { skipReason } from '../support/needs.ts';

/** What the runner reads back. */
export interface Counts {
  passed: number;
  failed: number;
  skipped: { title: string; reason: string }[];
}

/** Mocha's own `spec` report, and the counts as JSON in the file that `TEST_RESULT_FILE` names. */
export default class CountingReporter extends Mocha.reporters.Spec {
  constructor(runner: Mocha.Runner, options?: Mocha.MochaOptions) {
    super(runner, options);
    const counts: Counts = { passed: 0, failed: 0, skipped: [] };
    const { EVENT_TEST_PASS, EVENT_TEST_FAIL, EVENT_TEST_PENDING, EVENT_RUN_END } = Mocha.Runner.constants;
    runner.on(EVENT_TEST_PASS, () => {
      counts.passed += 1;
    });
    runner.on(EVENT_TEST_FAIL, () => {
      counts.failed += 1;
    });
    runner.on(EVENT_TEST_PENDING, (test: Mocha.Test) => {
      counts.skipped.push({ title: test.fullTitle(), reason: skipReason(test) });
    });
    runner.on(EVENT_RUN_END, () => {
      const file = process.env.TEST_RESULT_FILE;
      if (file) writeFileSync(file, JSON.stringify(counts));
    });
  }
}
