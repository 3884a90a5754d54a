import type { RepositoryFile } from '../engine.ts';
import { GGUF_BITS } from '../fit/weights.ts';
import { matchesGlob } from '../glob.ts';

/** One way to run a GGUF repository: a quantisation, with all the parts it is cut into. */
export interface GgufVariant {
  /** What the engine is given: the file, or its first part. */
  path: string;
  /** Such as `Q4_K_M`; null when the name says none. */
  quantisation: string | null;
  sizeBytes: number;
}

const PART = /-(?<index>\d{5})-of-\d{5}\.gguf$/i;
/** Not models: vision projectors, importance matrices, draft heads. */
const BESIDE = /(^|\/)(mmproj|imatrix)|[-.](mmproj|imatrix)\b/i;
const QUANTISATION =
  /(?:^|[-._])(?<name>(?:UD-)?(?:IQ[1-4]_\w{1,3}|Q[2-8]_(?:K(?:_(?:XXS|XS|S|M|L|XL))?|[01])|TQ[12]_0|MXFP4|NVFP4|BF16|F16|FP16|F32))(?=[-._]|$)/i;
/** What most people run: little is lost, and a quarter of the size of half precision. */
const WANTED_BITS = 4.85;

/** The models of a GGUF repository, the one to take first where nothing is said. */
export function ggufVariants(files: readonly RepositoryFile[], glob?: string | null): GgufVariant[] {
  const fitting = files.filter(({ path }) => isMain(path) && (!glob || matchesGlob(path, glob)));
  return fitting
    .filter(({ path }) => Number(PART.exec(path)?.groups?.index ?? 1) === 1)
    .map(({ path }) => variantAt(path, fitting))
    .toSorted((a, b) => distance(a) - distance(b) || b.sizeBytes - a.sizeBytes);
}

/** The variant a path names, parts included. */
export function variantAt(path: string, files: readonly RepositoryFile[]): GgufVariant {
  const stem = path.replace(PART, '-');
  const parts = PART.test(path)
    ? files.filter((file) => PART.test(file.path) && file.path.replace(PART, '-') === stem)
    : files.filter((file) => file.path === path);
  return {
    path,
    quantisation: quantisationOf(path),
    sizeBytes: parts.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
  };
}

/** Files that hold a model, parts of one included. */
export function mainGgufs(files: readonly RepositoryFile[]): RepositoryFile[] {
  return files.filter(({ path }) => isMain(path));
}

/** The vision part of a model, in half precision where there is a choice; null when there is none. */
export function projectorOf(files: readonly RepositoryFile[]): string | null {
  const found = files.map(({ path }) => path).filter((path) => /mmproj[^/]*\.gguf$/i.test(path));
  return found.find((path) => /(^|[^b])f16/i.test(path)) ?? found[0] ?? null;
}

function isMain(path: string): boolean {
  return path.toLowerCase().endsWith('.gguf') && !BESIDE.test(path);
}

function quantisationOf(path: string): string | null {
  const name = path
    .slice(path.lastIndexOf('/') + 1)
    .replace(PART, '')
    .replace(/\.gguf$/i, '');
  return QUANTISATION.exec(name)?.groups?.name?.toUpperCase() ?? null;
}

/** How far from what is wanted, in bits per parameter; fewer bits count twice, because quality falls quickly. */
function distance({ quantisation }: GgufVariant): number {
  const bits = bitsOf(quantisation);
  return bits < WANTED_BITS ? 2 * (WANTED_BITS - bits) : bits - WANTED_BITS;
}

function bitsOf(quantisation: string | null): number {
  if (quantisation === null) return 16;
  const name = quantisation.replace(/^UD-/, '').replace('FP16', 'F16');
  const known = GGUF_BITS[name] ?? GGUF_BITS[name.replace(/_(XXS|XS|S|M|L|XL)$/, '')];
  return known ?? Number(/\d/.exec(name)?.[0] ?? 16);
}
