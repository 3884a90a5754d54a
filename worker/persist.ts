import type { Logger } from '../runtime/log.ts';
import { errorMessage } from '../spec/errors.ts';

const FIRST_DELAY_MS = 200;
/** A host counts as lost fifteen seconds after everything else runs, so its agent must not sleep through that. */
const MAX_DELAY_MS = 2000;

/** Repeats a step of the start until what it needs is there; says so once per outage, not once per try. */
export async function persist<T>(log: Logger, what: string, step: () => Promise<T>): Promise<T> {
  for (let delay = FIRST_DELAY_MS, tries = 1; ; delay = Math.min(delay * 2, MAX_DELAY_MS), tries += 1) {
    try {
      const result = await step();
      if (tries > 1) log.info({ tries }, `${what} answers`);
      return result;
    } catch (error) {
      if (tries === 1) log.warn({ reason: errorMessage(error) }, `${what} does not answer yet; trying on`);
      await new Promise((resolve) => setTimeout(resolve, delay));
    }
  }
}
