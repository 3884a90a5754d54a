import type { Instance } from '../spec/hardware.ts';
import type { SettingsRefusal } from './engine.ts';
import { capabilityText, gpuFacts } from './gpus.ts';
import { isCpuImage } from './versions.ts';

/** An instance in a sentence: `nvidia-l4 x4`. */
export function nameOf(instance: Pick<Instance, 'type' | 'size'>): string {
  return `${instance.type} ${instance.size}`;
}

/** The first rule that refuses, so that one reason is told at a time. */
export function firstRefusal(...rules: (SettingsRefusal | null | false)[]): SettingsRefusal | null {
  return rules.find((rule) => rule !== null && rule !== false) || null;
}

/** A GPU build on an instance without GPU, a CPU build on one with GPUs, or hardware no build is for. */
export function imageFitsHardware(
  engine: { display: string; variant: string; cpuImage: string },
  url: string,
  instance: Instance,
): SettingsRefusal | null {
  const field = `model.image.${engine.variant}.url`;
  if (instance.accelerator === 'neuron')
    return { field, message: `${engine.display} does not run on ${nameOf(instance)}: choose cpu or gpu` };
  if (instance.gpus === 0 && !isCpuImage(url))
    return {
      field,
      message: `'${url}' needs a GPU and ${nameOf(instance)} has none: choose a GPU instance or a CPU build (${engine.cpuImage})`,
    };
  if (instance.gpus > 0 && isCpuImage(url))
    return {
      field,
      message: `'${url}' is a CPU build and would leave the GPUs of ${nameOf(instance)} idle: choose a GPU build or a CPU instance`,
    };
  return null;
}

/** A GPU older than what the engine's images are compiled for. */
export function newEnough(display: string, minimum: number, instance: Instance): SettingsRefusal | null {
  const gpu = gpuFacts(instance);
  if (!gpu || gpu.capability >= minimum) return null;
  return {
    field: 'compute.instanceType',
    message: `${display} needs GPUs of compute capability ${capabilityText(minimum)} or more and the ${gpu.name} of ${nameOf(instance)} has ${capabilityText(gpu.capability)}: choose a newer GPU, or llama.cpp`,
  };
}

/**
 * How the model is spread has to use every GPU, and has to be said when there are several: the public API refuses the
 * same, because each way (one large copy, several small ones) is right for another model.
 * @param pipeline stages given in `model.args`
 */
export function spreadOverGpus(
  variant: string,
  instance: Instance,
  given: { tensor: number | null | undefined; data?: number | null | undefined; pipeline: number },
): SettingsRefusal | null {
  const field = `model.image.${variant}.tensorParallelSize`;
  const gpus = Math.max(1, instance.gpus);
  const { tensor, data, pipeline } = given;
  const has = instance.gpus === 0 ? 'no GPU' : `${gpus} GPU${gpus > 1 ? 's' : ''}`;
  if (tensor == null && data == null && pipeline === 1)
    return gpus === 1
      ? null
      : {
          field,
          message: `${nameOf(instance)} has ${has}: set tensorParallelSize ${gpus} to spread the model over them`,
        };
  const product = (tensor ?? 1) * (data ?? 1) * pipeline;
  if (product === gpus) return null;
  const factors = [
    `tensorParallelSize ${tensor ?? 1}`,
    ...(data == null ? [] : [`dataParallelSize ${data}`]),
    ...(pipeline === 1 ? [] : [`pipeline stages ${pipeline}`]),
  ].join(' × ');
  return {
    field: tensor == null && data != null ? `model.image.${variant}.dataParallelSize` : field,
    message: `${factors}${factors.includes('×') ? ` = ${product}` : ''} does not match ${nameOf(instance)}, which has ${has}: their product must be ${gpus}`,
  };
}

/** A positive whole number in an argument, else 1. */
export function countIn(value: string | undefined): number {
  return value !== undefined && /^[1-9]\d{0,3}$/.test(value) ? Number(value) : 1;
}
