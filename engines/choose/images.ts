import type { EngineImages } from '../../spec/engine-images.ts';
import type { Instance } from '../../spec/hardware.ts';
import type { ImageVariant } from '../../spec/images.ts';
import { gpuFacts } from '../gpus.ts';

/** Tag prefix of TEI's builds by compute capability times ten; where none is known the build that holds several. */
const TEI_PREFIX: ReadonlyMap<number, string> = new Map([
  [75, 'turing-'],
  [80, ''],
  [86, '86-'],
  [89, '89-'],
  [90, 'hopper-'],
  [100, '100-'],
  [120, '120-'],
]);

/** The platform's image of an engine for this hardware; null where the owner has to name one, or the engine has its own. */
export function platformImage(
  variant: ImageVariant,
  instance: Instance,
  images: EngineImages,
): string | null {
  const gpu = instance.gpus > 0;
  switch (variant) {
    case 'llamacpp':
      return gpu ? images.llamacpp.gpuImage : images.llamacpp.image;
    case 'vLLM':
      return gpu ? images.vLLM.image : images.vLLM.cpuImage;
    case 'sGLang':
      return images.sGLang.image;
    case 'tgi':
      return gpu ? images.tgi.image : images.tgi.cpuImage;
    case 'tei': {
      const facts = gpuFacts(instance);
      const prefix = gpu ? facts && TEI_PREFIX.get(facts.capability) : 'cpu-';
      return `${images.tei.image}:${prefix ?? 'cuda-'}${images.tei.version}`;
    }
    case 'custom':
    case 'huggingface':
    case 'infinity':
      return null;
  }
}
