import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';

/**
 * Which folder may import which (DESIGN: the folder tells what may be imported). `types` may only be imported as types:
 * workflow code must stay deterministic, so nothing of an activity may be pulled into its bundle.
 */
interface Rule {
  modules: readonly string[];
  types?: readonly string[];
  /** When given, the only packages that may be imported at run time. */
  packages?: readonly string[];
}

export const RULES: Readonly<Record<string, Rule>> = {
  spec: { modules: [] },
  engines: { modules: ['spec'] },
  catalog: { modules: ['spec', 'engines'] },
  runtime: { modules: ['spec'] },
  store: { modules: ['spec'] },
  hub: { modules: ['spec'] },
  workflows: {
    modules: ['spec'],
    types: ['activities/interfaces.ts', 'runtime/config.ts'],
    packages: ['@temporalio/workflow', '@temporalio/common'],
  },
  activities: {
    // The policies are pure: the autoscaler's activity evaluates one for all endpoints outside of any workflow.
    modules: ['spec', 'engines', 'store', 'hub', 'runtime', 'workflows/messages.ts', 'workflows/policy'],
  },
  api: {
    modules: [
      'spec',
      'engines',
      'catalog',
      'store',
      'hub',
      'runtime',
      'workflows/messages.ts',
      'workflows/start.ts',
    ],
  },
  worker: {
    modules: ['spec', 'engines', 'store', 'hub', 'runtime', 'activities', 'workflows'],
  },
};

export interface Violation {
  file: string;
  line: number;
  message: string;
}

interface Import {
  specifier: string;
  typeOnly: boolean;
  line: number;
}

/** `import … from`, `export … from`, a bare `import '…'` and a dynamic `import('…')`, over several lines if need be. */
const IMPORT =
  /(?:^|\n)[ \t]*(?:import|export)\s+(type\s+)?(?:[\w*{}\s,$]+?\s+from\s+)?'([^']+)'|\bimport\(\s*'([^']+)'\s*\)/g;

/** The imports of one module. `import { type A }` counts as one at run time: the module is loaded all the same. */
export function importsOf(source: string): Import[] {
  return [...source.matchAll(IMPORT)].map((match) => ({
    specifier: match[2] ?? match[3] ?? '',
    typeOnly: match[1] !== undefined,
    line: source.slice(0, (match.index ?? 0) + match[0].length).split('\n').length,
  }));
}

/** What is wrong with the imports of one file; `file` is its path below `root`. */
export function checkFile(root: string, file: string, source: string): Violation[] {
  const folder = file.split('/')[0] ?? '';
  const rule = RULES[folder];
  if (!rule) return [];
  return importsOf(source).flatMap((found) => {
    const message = problem(root, file, folder, rule, found);
    return message ? [{ file, line: found.line, message }] : [];
  });
}

function problem(root: string, file: string, folder: string, rule: Rule, found: Import): string | undefined {
  const { specifier, typeOnly } = found;
  if (!specifier.startsWith('.')) {
    if (!rule.packages || typeOnly || rule.packages.includes(specifier)) return undefined;
    return `${folder}/ may import the packages ${rule.packages.join(', ')} only, not '${specifier}'`;
  }
  const target = relative(root, resolve(root, dirname(file), specifier));
  if (target.startsWith('..')) return `'${specifier}' is outside the project`;
  if (covers([folder, ...rule.modules], target)) return undefined;
  if (rule.types && covers(rule.types, target)) {
    return typeOnly ? undefined : `${folder}/ may import ${target} as types only: write 'import type'`;
  }
  const allowed = [...rule.modules, ...(rule.types ?? [])].join(', ') || 'nothing of ours';
  return `${folder}/ may import ${allowed}, not ${target}`;
}

function covers(allowed: readonly string[], target: string): boolean {
  return allowed.some((entry) => target === entry || target.startsWith(`${entry}/`));
}

/** Checks every TypeScript file of the folders that have a rule. */
export function checkProject(root: string): Violation[] {
  return Object.keys(RULES).flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .map((name) => `${folder}/${name}`)
      .flatMap((file) => checkFile(root, file, readFileSync(join(root, file), 'utf8'))),
  );
}

if (import.meta.filename === process.argv[1]) {
  const root = resolve(import.meta.dirname, '../..');
  const violations = checkProject(root);
  for (const { file, line, message } of violations) console.error(`${file}:${line}: ${message}`);
  if (violations.length) process.exitCode = 1;
}
