import type { GpuDriver } from '../../spec/driver.ts';

/**
 * What an image itself asks of the driver, in the words of NVIDIA's container toolkit: `NVIDIA_REQUIRE_CUDA` holds
 * alternatives between spaces, each a list of conditions between commas, such as `cuda>=12.9 brand=tesla,driver>=535,driver<536`.
 * The toolkit would refuse the container at its start, after the pull.
 * @returns the requirement when no alternative holds; null when one does, or nothing is asked. Conditions other than on
 *   `cuda` and `driver` are taken to hold, because the host does not tell of them
 */
export function unmetRequirement(env: readonly string[], driver: GpuDriver): string | null {
  const value = (name: string) => env.find((entry) => entry.startsWith(`${name}=`))?.slice(name.length + 1);
  if (['1', 'true'].includes(value('NVIDIA_DISABLE_REQUIRE')?.toLowerCase() ?? '')) return null;
  const required = value('NVIDIA_REQUIRE_CUDA')?.trim();
  if (!required) return null;
  const known: Record<string, string | null> = { cuda: driver.cuda, driver: driver.version };
  const met = required
    .split(/\s+/)
    .some((alternative) => alternative.split(',').every((condition) => holds(condition, known)));
  return met ? null : required;
}

function holds(condition: string, known: Readonly<Record<string, string | null>>): boolean {
  const [, name = '', operator = '', wanted = ''] = /^(\w+)(>=|<=|!=|=|<|>)([\d.]+)$/.exec(condition) ?? [];
  const actual = known[name];
  if (!actual) return true;
  const order = compareVersions(actual, wanted);
  switch (operator) {
    case '>=':
      return order >= 0;
    case '<=':
      return order <= 0;
    case '>':
      return order > 0;
    case '<':
      return order < 0;
    case '!=':
      return order !== 0;
    default:
      return order === 0;
  }
}

/** By the parts the wanted one has: 535.104 is equal to 535. */
function compareVersions(actual: string, wanted: string): number {
  const parts = actual.split('.').map(Number);
  const differences = wanted.split('.').map((part, at) => (parts[at] ?? 0) - Number(part));
  return differences.find((difference) => difference !== 0) ?? 0;
}
