import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { type CatalogModel, recipeFile } from './schema.ts';

const RECIPES = join(import.meta.dirname, 'recipes');

/**
 * All models, by name; one that several files name has the recipes of all of them.
 * @throws Error for a file that is no recipe file and for an id given twice; the message names file and place
 */
export function loadCatalog(dir = RECIPES): CatalogModel[] {
  const models = new Map<string, CatalogModel>();
  const ids = new Set<string>();
  for (const name of readdirSync(dir).sort()) {
    for (const model of readRecipes(join(dir, name))) {
      const known = models.get(model.repository);
      models.set(
        model.repository,
        known ? { ...known, recipes: [...known.recipes, ...model.recipes] } : model,
      );
      for (const { id } of model.recipes) {
        if (ids.has(id))
          throw new Error(`${join(dir, name)}: recipe '${id}' is there twice: give it another id`);
        ids.add(id);
      }
    }
  }
  return [...models.values()].sort((a, b) => a.repository.localeCompare(b.repository));
}

function readRecipes(file: string): CatalogModel[] {
  let tree: unknown;
  try {
    tree = parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw new Error(`${file}: cannot be read: ${(error as Error).message.split('\n')[0]}`);
  }
  const parsed = recipeFile.safeParse(tree);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new Error(`${file}: ${issue?.path.join('.') || '(top level)'}: ${issue?.message}`);
}
