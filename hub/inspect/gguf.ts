import type { GgufFacts } from '../../spec/model-facts.ts';
import type { ApiOptions } from '../api.ts';
import { GgufError, type GgufHeader, parseGguf } from './gguf-header.ts';
import { type FileAt, readRange, refusePointer, unusable } from './range.ts';

/** The size of the model comes first; the vocabulary that follows takes up to about 10 MB, and the chat template is behind it. */
const READS = [256 * 1024, 2 * 1024 ** 2, 6 * 1024 ** 2, 12 * 1024 ** 2];

/**
 * The header of a GGUF file: at least as far as the size of the model, further while the file is served quickly.
 * @throws EndpointsError NO_USABLE_FILE, HUB_*
 */
export async function readGguf(api: ApiOptions, file: FileAt): Promise<GgufFacts & { complete: boolean }> {
  let bytes: Buffer = Buffer.alloc(0);
  let header: GgufHeader = { metadata: {}, complete: false };
  for (const end of READS) {
    let more: Buffer;
    try {
      more = await readRange(api, file, bytes.length, end);
    } catch (error) {
      // What is known is enough to go on with.
      if (sized(header)) break;
      throw error;
    }
    if (more.length === 0) break;
    bytes = Buffer.concat([bytes, more]);
    refusePointer(file, bytes);
    header = parse(file, bytes);
    if (header.complete || bytes.length < end) break;
  }
  if (!header.complete && !sized(header))
    throw unusable(file, 'ends within its header: the upload is damaged');
  return { format: 'gguf', path: file.path, ...header };
}

function parse(file: FileAt, bytes: Buffer): GgufHeader {
  try {
    return parseGguf(bytes);
  } catch (error) {
    throw error instanceof GgufError ? unusable(file, error.message) : error;
  }
}

function sized({ metadata }: GgufHeader): boolean {
  const architecture = metadata['general.architecture'];
  return typeof architecture === 'string' && `${architecture}.block_count` in metadata;
}
