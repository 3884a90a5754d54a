import type { SafetensorsFacts } from '../../spec/model-facts.ts';
import type { ApiOptions } from '../api.ts';
import { parseObject } from './json.ts';
import { type FileAt, readRange, refusePointer, unusable } from './range.ts';

/** Covers the header of most files, so that one request is enough. */
const FIRST_BYTES = 128 * 1024;
/** The format's own limit is 100 MB; headers of models with hundreds of experts have about 1 MB per part. */
const MAX_HEADER_BYTES = 25_000_000;
/** Models in more parts than this are judged by some of them. */
const MAX_PARTS = 32;
const SAMPLED_PARTS = 12;
const PARALLEL = 8;

/**
 * The stored numbers per dtype over all parts of the weights, from the header at the beginning of each.
 * @throws EndpointsError NO_USABLE_FILE, HUB_*
 */
export async function readSafetensors(api: ApiOptions, parts: readonly FileAt[]): Promise<SafetensorsFacts> {
  const read = parts.length > MAX_PARTS ? spread(parts, SAMPLED_PARTS) : parts;
  const counts: Record<string, number> = {};
  for (let i = 0; i < read.length; i += PARALLEL) {
    const batch = read.slice(i, i + PARALLEL).map((file) => readHeader(api, file));
    for (const header of await Promise.all(batch))
      for (const [dtype, count] of Object.entries(header)) counts[dtype] = (counts[dtype] ?? 0) + count;
  }
  const scale = read.length === parts.length ? 1 : bytesOf(parts) / bytesOf(read);
  return {
    format: 'safetensors',
    parameters: Object.fromEntries(
      Object.entries(counts).map(([dtype, count]) => [dtype, Math.round(count * scale)]),
    ),
    estimated: scale !== 1,
  };
}

async function readHeader(api: ApiOptions, file: FileAt): Promise<Record<string, number>> {
  const first = await readRange(api, file, 0, FIRST_BYTES);
  refusePointer(file, first);
  if (first.length < 8) throw unusable(file, `has ${first.length} bytes and is no safetensors file`);
  const length = first.readBigUInt64LE(0);
  if (length < 2n || length > MAX_HEADER_BYTES)
    throw unusable(
      file,
      `is no safetensors file: its header would be ${length} bytes long; choose another revision`,
    );
  const end = 8 + Number(length);
  const bytes =
    first.length >= end ? first : Buffer.concat([first, await readRange(api, file, first.length, end)]);
  if (bytes.length < end) throw unusable(file, `ends within its header, after ${bytes.length} bytes`);
  return countNumbers(file, bytes.toString('utf8', 8, end));
}

/** Numbers per dtype of a header: `{"<tensor>":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]}, …}`. */
function countNumbers(file: FileAt, text: string): Record<string, number> {
  const header = parseObject(text);
  if (!header) throw unusable(file, 'has a header that is not JSON: the upload is damaged');
  const counts: Record<string, number> = {};
  for (const [name, tensor] of Object.entries(header)) {
    if (name === '__metadata__') continue;
    const { dtype, shape } = tensor as { dtype?: unknown; shape?: unknown };
    const sizes = Array.isArray(shape) ? shape.map(Number) : [Number.NaN];
    const count = sizes.reduce((product, size) => product * size, 1);
    if (typeof dtype !== 'string' || !sizes.every((size) => Number.isSafeInteger(size) && size >= 0))
      throw unusable(file, `describes its tensor '${name.slice(0, 100)}' without dtype and shape`);
    counts[dtype] = (counts[dtype] ?? 0) + count;
  }
  return counts;
}

/** So many of them, evenly spread from the first to the last. */
function spread<T>(all: readonly T[], count: number): T[] {
  return Array.from({ length: count }, (_, i) => all[Math.round((i * (all.length - 1)) / (count - 1))]!);
}

function bytesOf(parts: readonly FileAt[]): number {
  return parts.reduce((sum, part) => sum + part.sizeBytes, 0);
}
