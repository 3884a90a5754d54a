/** Why each skipped test or suite was skipped, for the reporter. */
const reasons = new WeakMap<object, string>();

/**
 * Skips the test, or the whole suite when called from its `before`, unless every one of these environment variables is
 * set. The runner sets them for the parts it could provide, and says in `TEST_UNAVAILABLE` why it could not.
 */
export function needs(context: Mocha.Context, ...variables: string[]): void {
  const missing = variables.filter((name) => !process.env[name]);
  if (missing.length === 0) return;
  const why = unavailable();
  skip(context, missing.map((name) => why[name] ?? `${name} is not set`).join('; '));
}

/** Skips the test, or the suite, for a reason that the reporter prints. */
export function skip(context: Mocha.Context, reason: string): never {
  const runnable = context.test;
  const inHook = runnable !== undefined && 'type' in runnable && runnable.type === 'hook';
  const skipped = inHook ? runnable.parent : runnable;
  if (skipped) reasons.set(skipped, reason);
  return context.skip();
}

/** The reason given for a skipped test, by the test itself or by a suite around it. */
export function skipReason(test: Mocha.Test): string {
  for (let at: Mocha.Test | Mocha.Suite | undefined = test; at; at = at.parent) {
    const reason = reasons.get(at);
    if (reason) return reason;
  }
  return 'no reason was given';
}

function unavailable(): Record<string, string> {
  return JSON.parse(process.env.TEST_UNAVAILABLE || '{}') as Record<string, string>;
}
