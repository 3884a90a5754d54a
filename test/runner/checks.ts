import { tryExec } from '../../cli/services/exec.ts';
import type { Step } from '../../cli/up/step.ts';

const ROOT = new URL('../..', import.meta.url).pathname;

const CHECKS = [
  { title: 'Types', command: ['npx', '--no-install', 'tsc', '--noEmit'] },
  { title: 'Format and lint', command: ['npx', '--no-install', 'biome', 'ci', '.'] },
  { title: 'Import boundaries', command: [process.execPath, '--import', 'tsx', 'test/lint/boundaries.ts'] },
];

/** What `npm run check` does, one by one and counted; a failure's own lines go into `said`. */
export function checkSteps(
  counts: { passed: number; failed: number },
  said: string[],
  signal: AbortSignal,
): Step[] {
  return CHECKS.map(({ title, command: [file = '', ...args] }) => ({
    title,
    optional: true,
    run: async () => {
      const { code, stdout, stderr } = await tryExec(file, args, { cwd: ROOT, signal });
      if (code === 0) {
        counts.passed += 1;
        return 'clean';
      }
      counts.failed += 1;
      said.push(`${title}:\n${stdout}${stderr}`);
      throw new Error('not clean, see below');
    },
  }));
}
