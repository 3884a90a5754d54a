import { engineFor } from '../engines/index.ts';
import { EndpointsError } from '../spec/errors.ts';
import { missingProvider, type Vendor } from '../spec/hardware.ts';
import { variantOf } from '../spec/images.ts';
import { ENDPOINT_NAME } from '../spec/names.ts';
import type { CatalogModel, Recipe } from './schema.ts';

export interface Choice {
  model: CatalogModel;
  recipe: Recipe;
}

export interface ListFilter {
  accelerator?: string | undefined;
  engine?: string | undefined;
  license?: string | undefined;
  task?: string | undefined;
  search?: string | undefined;
}

export function engineOf({ image }: Recipe): string {
  return engineFor(image).engine.name;
}

/** The GGUF file a recipe deploys; undefined for other engines. */
export function ggufFileOf({ image }: Recipe): string | undefined {
  const { variant, settings } = variantOf(image);
  return variant === 'llamacpp' ? settings.modelPath : undefined;
}

/** The models that match, each with the recipes that do; words are compared without regard to case. */
export function listModels(models: readonly CatalogModel[], filter: ListFilter): CatalogModel[] {
  const same = (wanted: string | undefined, value: string) =>
    wanted === undefined || wanted.toLowerCase() === value.toLowerCase();
  const found = (model: CatalogModel) =>
    !filter.search || model.repository.toLowerCase().includes(filter.search.toLowerCase());
  return models
    .filter((model) => same(filter.license, model.license) && same(filter.task, model.task) && found(model))
    .map((model) => ({
      ...model,
      recipes: model.recipes.filter(
        (recipe) =>
          same(filter.accelerator, recipe.hardware.accelerator) && same(filter.engine, engineOf(recipe)),
      ),
    }))
    .filter(({ recipes }) => recipes.length > 0);
}

/** @throws EndpointsError NOT_FOUND */
export function recipeById(models: readonly CatalogModel[], id: string): Choice {
  for (const model of models) {
    const recipe = model.recipes.find((candidate) => candidate.id === id);
    if (recipe) return { model, recipe };
  }
  throw new EndpointsError('NOT_FOUND', `recipe '${id}' is not in the catalogue: list it for the ids`);
}

/**
 * A model's recipe for what is wished: the first whose hardware can be had here, else the first, so that it is said what
 * is missing.
 * @throws EndpointsError NOT_FOUND when the model, or such a recipe of it, is not in the catalogue
 */
export function recipeFor(
  models: readonly CatalogModel[],
  want: { repository: string; accelerator?: string | undefined; ggufFile?: string | undefined },
  vendors: readonly Vendor[],
): Choice {
  const model = models.find(({ repository }) => repository === want.repository);
  if (!model)
    throw new EndpointsError(
      'NOT_FOUND',
      `'${want.repository}' is not in the catalogue: create an endpoint for it by hand, or choose a model of the list`,
    );
  const recipes = model.recipes.filter(
    (recipe) =>
      (want.accelerator === undefined || recipe.hardware.accelerator === want.accelerator) &&
      (want.ggufFile === undefined || ggufFileOf(recipe) === want.ggufFile),
  );
  const recipe = recipes.find((candidate) => placeFor(candidate, vendors).ok) ?? recipes[0];
  if (recipe) return { model, recipe };
  const wish = [want.accelerator, want.ggufFile].filter((part) => part !== undefined).join(' and ');
  const known = model.recipes.map((r) =>
    [r.id, r.hardware.accelerator, ggufFileOf(r)].filter(Boolean).join(' '),
  );
  throw new EndpointsError(
    'NOT_FOUND',
    `'${model.repository}' has no recipe for ${wish}: it has ${known.join(', ')}`,
  );
}

export type Place = { ok: true; vendor: string; region: string } | { ok: false; message: string };

/** Where a recipe's hardware is to be had, or what is missing. */
export function placeFor({ id, hardware }: Recipe, vendors: readonly Vendor[]): Place {
  const needs = `recipe '${id}' needs ${hardware.type} ${hardware.size}`;
  let missing: string | null = null;
  for (const vendor of vendors) {
    for (const region of vendor.regions) {
      const row = region.instances.find(
        (i) => i.type === hardware.type && i.size === hardware.size && i.accelerator === hardware.accelerator,
      );
      if (!row) continue;
      const gone = ['not_available', 'deprecated'].includes(row.status);
      const problem = gone ? `it is ${row.status.replace('_', ' ')} there` : missingProvider(vendor);
      if (problem === null) return { ok: true, vendor: vendor.name, region: region.name };
      missing ??= `${needs}, which '${vendor.name}' has in '${region.name}', but ${problem}`;
    }
  }
  return {
    ok: false,
    message:
      missing ?? `${needs}, which no vendor of this installation has: add it to 'vendors' in platform.yaml`,
  };
}

/** A name for an endpoint of this model: what of the repository's name may be in one, and `suffix` to tell two apart. */
export function nameFor({ repository }: Pick<CatalogModel, 'repository'>, suffix: string): string {
  const words = (repository.split('/')[1] ?? repository).toLowerCase().replace(/[^a-z0-9]+/g, '-');
  const room = 32 - suffix.length - 1;
  const name = `${words.slice(0, room).replace(/^-+|-+$/g, '')}-${suffix}`;
  return ENDPOINT_NAME.test(name) ? name : `model-${suffix}`;
}
