import { type ImageRequest, requestedVariant } from '../../spec/images.ts';
import type { ModelRequest, RepositoryFile } from '../engine.ts';
import { ENGINES } from '../index.ts';
import { selectToolkit } from '../toolkit-files.ts';
import { selectTransformers } from '../transformers-files.ts';
import { ggufVariants } from './gguf-files.ts';

/** Whose headers tell the size of the model, for the engine that is asked for or may be chosen; null when none do. */
export function headersToRead(
  files: readonly RepositoryFile[],
  image: ImageRequest | null,
  model: Pick<ModelRequest, 'args' | 'env'>,
): { safetensors: string[] } | { gguf: string } | null {
  const asked = image && requestedVariant(image);
  if (asked?.variant === 'custom') return null;
  if (asked?.variant === 'llamacpp') {
    const settings = 'modelPath' in asked.settings || 'variant' in asked.settings ? asked.settings : {};
    const { modelPath, variant } = settings as { modelPath?: string; variant?: string | null };
    const path = modelPath ?? ggufVariants(files, variant)[0]?.path;
    return path !== undefined && files.some((file) => file.path === path) ? { gguf: path } : null;
  }
  const selected = asked
    ? ENGINES[asked.variant].selectFiles(files, { ...asked.settings, url: '' }, model)
    : selectTransformers(files, { engine: 'vLLM', pickles: true, code: false });
  const safetensors = safetensorsOf(selected.ok ? selected.files : []);
  if (safetensors.length) return { safetensors };
  const [gguf] = asked ? [] : ggufVariants(files);
  if (gguf) return { gguf: gguf.path };
  const toolkit = asked ? [] : safetensorsOf(toolkitFiles(files));
  return toolkit.length ? { safetensors: toolkit } : null;
}

function toolkitFiles(files: readonly RepositoryFile[]): readonly RepositoryFile[] {
  const selected = selectToolkit(files);
  return selected.ok ? selected.files : [];
}

function safetensorsOf(files: readonly RepositoryFile[]): string[] {
  return files.map(({ path }) => path).filter((path) => path.endsWith('.safetensors'));
}
