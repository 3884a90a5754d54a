import type { LlamacppImage } from '../spec/images.ts';
import type { FileSelection, RepositoryFile } from './engine.ts';
import { matchesGlob } from './glob.ts';

/** `name-00001-of-00003.gguf`: the engine is given the first shard and looks for the others beside it. */
const SHARD = /^(?<stem>.*)-(?<index>\d{5})-of-(?<count>\d{5})\.gguf$/;
/** Repositories with a file per quantisation have dozens; a message with all of them is no help. */
const MAX_NAMED = 20;

/** Only what the settings point at: repositories of GGUF files hold the same model in many quantisations. */
export function selectGguf(files: readonly RepositoryFile[], settings: LlamacppImage): FileSelection {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const wanted = new Set(shardsOf(settings.modelPath));
  if (settings.mmprojModelPath) wanted.add(settings.mmprojModelPath);

  for (const path of wanted) {
    if (!byPath.has(path)) return missing(files, settings, path);
  }
  const { index } = SHARD.exec(settings.modelPath)?.groups ?? {};
  if (index !== undefined && Number(index) !== 1) {
    return {
      ok: false,
      code: 'NO_USABLE_FILE',
      message: `model.image.llamacpp.modelPath '${settings.modelPath}' is not the first part of the model: set it to '${shardsOf(settings.modelPath)[0]}'`,
    };
  }
  if (settings.variant) {
    const matched = files.filter(
      (file) => isGguf(file.path) && matchesGlob(file.path, settings.variant ?? ''),
    );
    for (const file of matched) wanted.add(file.path);
  }
  return { ok: true, files: files.filter((file) => wanted.has(file.path)) };
}

function shardsOf(path: string): string[] {
  const { stem, count } = SHARD.exec(path)?.groups ?? {};
  if (stem === undefined || count === undefined) return [path];
  return Array.from(
    { length: Number(count) },
    (_, index) => `${stem}-${String(index + 1).padStart(5, '0')}-of-${count}.gguf`,
  );
}

function isGguf(path: string): boolean {
  return path.toLowerCase().endsWith('.gguf');
}

function missing(files: readonly RepositoryFile[], settings: LlamacppImage, path: string): FileSelection {
  const field = path === settings.mmprojModelPath ? 'mmprojModelPath' : 'modelPath';
  const there = files.map((file) => file.path).filter(isGguf);
  const list = there.slice(0, MAX_NAMED).join(', ') + (there.length > MAX_NAMED ? ', …' : '');
  const what =
    path === settings[field]
      ? `the repository has no file '${path}'`
      : `the repository has no file '${path}', a part of '${settings[field]}'`;
  return {
    ok: false,
    code: 'NO_USABLE_FILE',
    message: `${what}: ${
      there.length
        ? `set model.image.llamacpp.${field} to one of its GGUF files: ${list}`
        : 'it has no GGUF file at all; llama.cpp needs a repository with one'
    }`,
  };
}
