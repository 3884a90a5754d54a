import type { ApiOptions } from '../api.ts';
import { type FileAt, readRange, refusePointer, unusable } from './range.ts';

/** Far above any real `config.json`; a tokenizer's configuration with thousands of added tokens has about 1 MB. */
const MAX_BYTES = 4 * 1024 ** 2;

export type Json = Readonly<Record<string, unknown>>;

/** A small JSON file of a repository, which must be an object. @throws EndpointsError NO_USABLE_FILE, HUB_* */
export async function readJson(api: ApiOptions, file: FileAt): Promise<Json> {
  const bytes = await readRange(api, file, 0, MAX_BYTES + 1);
  refusePointer(file, bytes);
  if (bytes.length > MAX_BYTES) throw unusable(file, `is larger than ${MAX_BYTES >> 20} MiB`);
  const parsed = parseObject(bytes.toString('utf8'));
  if (!parsed) throw unusable(file, 'is not a JSON object: the upload is damaged; choose another revision');
  return parsed;
}

/** Null for what is not JSON, or not an object. */
export function parseObject(text: string): Json | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value))
      : null;
  } catch {
    return null;
  }
}
