import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { cellOf, type Results, readResults } from './results.ts';
import { STEPS } from './steps.ts';
import { CONVERGES_MS, VICTIMS } from './victims.ts';

const PAGE = join(import.meta.dirname, '../../docs/fault-matrix.md');

/** The page on what a kill costs, made of the newest result of every cell. */
export function report(results: Results): string {
  const cells = STEPS.flatMap(({ name }) => VICTIMS.map((victim) => results[cellOf(name, victim)]));
  const shown = cells.filter((result) => result !== undefined);
  const measured = [...new Set(shown.map(({ version, date }) => `${version} on ${date}`))]
    .sort()
    .map((when) => {
      const count = shown.filter(({ version, date }) => `${version} on ${date}` === when).length;
      return `${count} with version ${when}`;
    });
  const took = shown.flatMap(({ seconds }) => seconds ?? []).sort((a, b) => a - b);
  const loads = shown.flatMap(({ load }) => load ?? []).sort((a, b) => a - b);
  const busy = loads.length
    ? `Of ${loads.length} of them it is known how busy the machine was: ${loads[0]} to ${loads.at(-1)} tasks wanted each of its cores.\n`
    : '';
  const rows = STEPS.map(({ name }) => [
    name,
    ...VICTIMS.map((victim) => {
      const result = results[cellOf(name, victim)];
      return result ? (result.seconds?.toFixed(1) ?? '**failed**') : 'not run';
    }),
  ]);
  const line = (row: readonly string[]) => `| ${row.join(' | ')} |`;
  const table = [['killed at', ...VICTIMS], ['---', ...VICTIMS.map(() => '---:')], ...rows].map(line);
  return `# What \`kill -9\` costs

\`npm run test:faults\` runs it, \`npm run report:faults\` writes this page of the newest result of every cell. A cell is one run
on a whole installation with real engines: the process is killed at that step, and the seconds are those until everything is
as the last acknowledged write wants it: state, replicas, routes, places and containers agree, no request counts as in flight,
no container too many at any moment, and the endpoint answers. More than ${CONVERGES_MS / 1000} is a failure. The seconds include what the step itself
takes (a start, a rollout, an answer that is waited for).

\`dockerd\` is killed and started again at once. Without Docker's \`live-restore\` the next start ends the containers, which the
test sees, and they are replaced. With it (\`dockerd, kept\`) they run on and are the same ones afterwards, where the step
itself ends none: the test compares ids and start times.

${table.join('\n')}

${shown.length} of ${cells.length} cells were run, ${shown.length - took.length} failed; ${measured.join(', ')}. Median ${middle(took)} s, longest ${took.at(-1)?.toFixed(1) ?? '–'} s.
${busy}`;
}

const middle = (sorted: readonly number[]) => sorted[Math.floor(sorted.length / 2)]?.toFixed(1) ?? '–';

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) writeFileSync(PAGE, report(readResults()));
