import type { EndpointSpec } from './endpoint.ts';
import type { OwnersWish } from './normalize.ts';

/** One difference between two versions of an endpoint, as the audit log keeps it. Never holds a secret value. */
export interface Change {
  /** Dotted path of the field, such as `compute.scaling.maxReplica`. */
  path: string;
  before: unknown;
  after: unknown;
}

/** Everything that differs. A secret is told by its name: `set`, `changed`, or null where there is none. */
export function changesOf(before: OwnersWish, after: OwnersWish): Change[] {
  const visible = (wish: OwnersWish) => ({
    ...wish.spec,
    model: { ...wish.spec.model, secretNames: undefined },
  });
  return [
    ...differences('', visible(before), visible(after)),
    ...secretChanges('model.secrets', before.secrets.env, after.secrets.env),
    ...registryChange(before, after),
  ];
}

/**
 * Whether replicas of `before` are not what `after` asks for, so that new containers are needed: anything about the
 * model, the instance or where it stands. Scaling, tags, type and routes change nothing inside a container.
 */
export function needsNewContainers(before: OwnersWish, after: OwnersWish): boolean {
  return (
    differences('', containerPart(before.spec), containerPart(after.spec)).length > 0 ||
    differences('', before.secrets, after.secrets).length > 0
  );
}

function containerPart(spec: EndpointSpec): unknown {
  return {
    provider: spec.provider,
    compute: { ...spec.compute, scaling: undefined },
    model: { ...spec.model, fromCatalog: undefined },
  };
}

function registryChange(before: OwnersWish, after: OwnersWish): Change[] {
  const both = before.secrets.registry && after.secrets.registry;
  if (!both || differences('', before.secrets.registry, after.secrets.registry).length === 0) return [];
  return [{ path: 'model.image.custom.credentials', before: 'set', after: 'changed' }];
}

function secretChanges(
  path: string,
  before: Record<string, string>,
  after: Record<string, string>,
): Change[] {
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
  return names
    .filter((name) => before[name] !== after[name])
    .map((name) => ({
      path: `${path}.${name}`,
      before: Object.hasOwn(before, name) ? 'set' : null,
      after: !Object.hasOwn(after, name) ? null : Object.hasOwn(before, name) ? 'changed' : 'set',
    }));
}

/** Objects are compared key by key, lists and plain values as a whole; absent and null are the same. */
function differences(path: string, before: unknown, after: unknown): Change[] {
  if (isObject(before) && isObject(after)) {
    const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
    return keys.flatMap((key) => differences(path ? `${path}.${key}` : key, before[key], after[key]));
  }
  return same(before, after) ? [] : [{ path, before: before ?? null, after: after ?? null }];
}

/** Regardless of the order of keys, which a jsonb column does not keep. */
function same(before: unknown, after: unknown): boolean {
  if (Array.isArray(before) && Array.isArray(after))
    return before.length === after.length && before.every((value, i) => same(value, after[i]));
  if (isObject(before) && isObject(after)) return differences('', before, after).length === 0;
  return (before ?? null) === (after ?? null);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
