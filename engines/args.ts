import { EndpointsError } from '../spec/errors.ts';

/** The name of a flag as argparse takes it: `--max_len=3` and `--max-len` are one. */
function flagName(arg: string): string {
  const name = arg.split('=', 1)[0] ?? '';
  return name.startsWith('--') ? name.replaceAll('_', '-') : name;
}

/** The first of `args` that is one of these flags, as it was written. */
export function findFlag(args: readonly string[], flags: ReadonlySet<string>): string | undefined {
  return args.find((arg) => flags.has(flagName(arg)))?.split('=', 1)[0];
}

/** The value the last of these flags was given, `--flag value` or `--flag=value`; undefined when it has none. */
export function flagValue(args: readonly string[], flags: ReadonlySet<string>): string | undefined {
  const at = args.findLastIndex((arg) => flags.has(flagName(arg)));
  const arg = args[at];
  if (arg === undefined) return undefined;
  const equals = arg.indexOf('=');
  return equals >= 0 ? arg.slice(equals + 1) : args[at + 1];
}

/**
 * Says which argument the owner may not give, because the platform reaches the engine by it and a later one would win.
 * @param owned flag → where else to set it
 */
export function refuseFlags(args: readonly string[], owned: ReadonlyMap<string, string>): string | null {
  const flag = findFlag(args, new Set(owned.keys()));
  return flag === undefined ? null : `model.args must not set ${flag}: ${owned.get(flagName(flag))}`;
}

/** @throws EndpointsError BAD_ARGS with the sentence of {@link refuseFlags} */
export function assertArgs(args: readonly string[], owned: ReadonlyMap<string, string>): void {
  const refusal = refuseFlags(args, owned);
  if (refusal) throw new EndpointsError('BAD_ARGS', refusal);
}

/** Flags that are the platform's own, with the usual reason. */
export function ownedFlags(...flags: string[]): [string, string][] {
  return flags.map((flag) => [
    flag,
    'the platform sets it itself, from the repository and the image settings',
  ]);
}

/** `['--flag', 'value']`, or nothing when there is no value. */
export function option(flag: string, value: string | number | null | undefined): string[] {
  return value == null ? [] : [flag, String(value)];
}

/** The owner's variables without those the platform sets itself. */
export function withoutOwned(
  env: Readonly<Record<string, string>>,
  owned: ReadonlySet<string>,
): Record<string, string> {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !owned.has(name)));
}

/** Variables that have a value, as text. */
export function variables(
  entries: Readonly<Record<string, string | number | boolean | null | undefined>>,
): Record<string, string> {
  return Object.fromEntries(
    Object.entries(entries).flatMap(([name, value]) => (value == null ? [] : [[name, String(value)]])),
  );
}
