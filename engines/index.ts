import { type Image, type ImageVariant, type VariantSettings, variantOf } from '../spec/images.ts';
import { custom } from './custom.ts';
import type { Engine } from './engine.ts';
import { huggingface } from './huggingface.ts';
import { infinity } from './infinity.ts';
import { llamacpp } from './llamacpp.ts';
import { sglang } from './sglang.ts';
import { tei } from './tei.ts';
import { tgi } from './tgi.ts';
import { vllm } from './vllm.ts';

/** The settings of any engine. */
export type EngineSettings = VariantSettings['settings'];

/**
 * The engine that runs an image, and the settings to hand to its functions: always these two together, as in
 * `engine.container({ settings, … })`.
 */
export function engineFor(image: Image): { engine: Engine<EngineSettings>; settings: EngineSettings } {
  const { variant, settings } = variantOf(image);
  return { engine: ENGINES[variant], settings };
}

/** All engines by their key in `model.image`. */
export const ENGINES: Readonly<Record<ImageVariant, Engine<EngineSettings>>> = {
  custom,
  huggingface,
  infinity,
  llamacpp,
  sGLang: sglang,
  tei,
  tgi,
  vLLM: vllm,
};

/**
 * The engine of this name (`Engine.name`, which a replica's plan carries), for what does not need its settings.
 * @throws Error for a name that no engine has
 */
export function engineNamed(name: string): Engine<EngineSettings> {
  const engine = Object.values(ENGINES).find((candidate) => candidate.name === name);
  if (!engine) throw new Error(`no engine is named '${name}'`);
  return engine;
}
