import { z } from 'zod';
import { EndpointsError } from './errors.ts';
import type { BakeSettings } from './lifecycle.ts';

/** The endpoint's own word on how new revisions are watched: `experimentalFeatures.bake`, an extension of the API. */
const bake = z.strictObject({
  seconds: z.number().min(0).max(3600).optional(),
  requests: z.int().min(1).max(1_000_000).optional(),
  maxErrorPercent: z.number().min(0).max(100).optional(),
});

/** @throws EndpointsError VALIDATION_FAILED naming the field and what is wrong with it */
export function checkBake(features: Record<string, unknown>): void {
  const parsed = bake.optional().safeParse(features.bake);
  if (parsed.success) return;
  const [issue] = parsed.error.issues;
  const path = ['experimentalFeatures', 'bake', ...(issue?.path ?? [])].join('.');
  throw new EndpointsError('VALIDATION_FAILED', `${path}: ${issue?.message}`);
}

/** How new revisions of an endpoint are watched: by its own word where there is one, else the site's; null: not at all. */
export function bakeOf(
  features: Record<string, unknown> | undefined,
  site: BakeSettings,
): BakeSettings | null {
  const { data: own = {} } = bake.safeParse(features?.bake ?? {});
  const seconds = own.seconds ?? site.seconds;
  if (seconds === 0) return null;
  return {
    seconds,
    requests: own.requests ?? site.requests,
    maxErrorPercent: own.maxErrorPercent ?? site.maxErrorPercent,
  };
}
