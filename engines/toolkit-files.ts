import type { FileSelection, RepositoryFile } from './engine.ts';

/** Weights of other frameworks and tools, and of training. */
const FOREIGN =
  /\.(h5|msgpack|ot|tflite|onnx|onnx_data|gguf|mlmodel|ckpt)$|(^|\/)(optimizer|scheduler|rng_state\S*)\.(pt|pth|bin)$/i;
const PICKLE = /\.(bin|pt|pth)$/i;

/**
 * Everything but further copies of the weights: in a folder with safetensors nothing else is loaded. A repository with a
 * handler of its own is taken whole, because only the handler knows what it reads.
 */
export function selectToolkit(files: readonly RepositoryFile[]): FileSelection {
  if (files.some(({ path }) => path === 'handler.py')) return { ok: true, files: [...files] };
  const folderOf = (path: string) => path.slice(0, path.lastIndexOf('/') + 1);
  const safe = new Set(
    files.filter(({ path }) => path.endsWith('.safetensors')).map(({ path }) => folderOf(path)),
  );
  const wanted = files.filter(
    ({ path }) => !FOREIGN.test(path) && !(PICKLE.test(path) && safe.has(folderOf(path))),
  );
  const loadable = wanted.some(({ path }) => path.endsWith('.safetensors') || PICKLE.test(path));
  if (loadable) return { ok: true, files: wanted };
  return {
    ok: false,
    code: 'NO_USABLE_FILE',
    message:
      'the repository has neither PyTorch weights (safetensors, .bin) nor a handler.py, one of which the Inference Toolkit needs: choose another repository, or another engine',
  };
}
