import { type Choice, engineOf, ggufFileOf, placeFor } from '../../catalog/choose.ts';
import type { CatalogModel } from '../../catalog/schema.ts';
import { type EndpointCreate, endpointCreate } from '../../spec/endpoint.ts';
import { EndpointsError } from '../../spec/errors.ts';
import type { Vendor } from '../../spec/hardware.ts';

/** Sleeps when nobody asks for so long: who tries a recipe forgets the endpoint. In minutes. */
const SLEEP_AFTER = 60;

/** A model as the public catalogue lists it, and besides what its recipes take and whether that is to be had. */
export function presentModel(model: CatalogModel, vendors: readonly Vendor[]) {
  const [authorName = '', modelName = ''] = model.repository.split('/');
  return {
    repoId: model.repository,
    modelName,
    authorName,
    license: model.license,
    task: model.task,
    createdAt: `${model.added}T00:00:00.000Z`,
    recipes: model.recipes.map((recipe) => {
      const place = placeFor(recipe, vendors);
      const ggufFile = ggufFileOf(recipe);
      return {
        publicId: recipe.id,
        accelerator: recipe.hardware.accelerator,
        engineType: engineOf(recipe),
        ...(ggufFile === undefined ? {} : { ggufFile }),
        ...(recipe.revision === undefined ? {} : { revision: recipe.revision }),
        instanceType: recipe.hardware.type,
        instanceSize: recipe.hardware.size,
        reason: recipe.reason,
        missing: place.ok ? null : place.message,
      };
    }),
  };
}

/**
 * The create request a recipe stands for: private, one replica that sleeps when nobody asks.
 * @throws EndpointsError VALIDATION_FAILED naming what is missing when its hardware is to be had nowhere, or for a name
 *   that is none
 */
export function bodyOf({ model, recipe }: Choice, name: string, vendors: readonly Vendor[]): EndpointCreate {
  const place = placeFor(recipe, vendors);
  if (!place.ok) throw new EndpointsError('VALIDATION_FAILED', `provider: ${place.message}`);
  const body = endpointCreate.safeParse({
    name,
    type: 'private',
    provider: { vendor: place.vendor, region: place.region },
    compute: {
      accelerator: recipe.hardware.accelerator,
      instanceType: recipe.hardware.type,
      instanceSize: recipe.hardware.size,
      scaling: { minReplica: 0, maxReplica: 1, scaleToZeroTimeout: SLEEP_AFTER },
    },
    model: {
      repository: model.repository,
      framework: 'llamacpp' in recipe.image ? 'llamacpp' : 'pytorch',
      image: recipe.image,
      revision: recipe.revision ?? null,
      task: model.task,
      env: recipe.env,
      args: recipe.args,
      fromCatalog: true,
    },
    tags: ['catalog'],
  });
  if (body.success) return body.data;
  const [issue] = body.error.issues;
  throw new EndpointsError('VALIDATION_FAILED', `${issue?.path.join('.')}: ${issue?.message}`);
}
