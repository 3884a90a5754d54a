import type { Instance } from '../../spec/hardware.ts';
import { gpuFacts } from '../gpus.ts';
import { nameOf } from '../hardware-rules.ts';
import { type Fit, type FitInput, fitOn } from './fit.ts';
import { PROFILES } from './memory.ts';
import { hasFp8 } from './weights.ts';

export interface Choice {
  instance: Instance;
  fit: Fit;
}

export interface Recommendation {
  /** The cheapest instance on which the model fits; null when there is none. */
  best: Choice | null;
  /** The cheapest of two other kinds of hardware, for when the best is sold out. */
  alternatives: Choice[];
  message: string;
}

/** Compute capability times ten from which 8-bit floats are computed. */
const FP8_CAPABILITY = 89;
const GONE: readonly Instance['status'][] = ['not_available', 'deprecated'];

/** The smallest hardware of a catalogue that a model fits on; "smallest" is cheapest, then fewest GPUs and memory. */
export function recommend(
  wish: Omit<FitInput, 'instance' | 'tensorParallel'>,
  catalogue: readonly Instance[],
): Recommendation {
  const tried = catalogue
    .filter((instance) => runsOn(wish, instance))
    .toSorted(bySize)
    .map((instance): Choice => ({ instance, fit: fitOn({ ...wish, instance }) }));
  const fitting = tried.filter((choice) => choice.fit.ok);
  const [best = null] = fitting;
  if (best)
    return {
      best,
      alternatives: otherKinds(fitting, best),
      message: `${nameOf(best.instance)}: ${best.fit.message}`,
    };
  const nearest = tried.toSorted((a, b) => overrun(a.fit) - overrun(b.fit)).at(0);
  return {
    best: null,
    alternatives: [],
    message: nearest
      ? `the model fits on no instance of the catalogue; the nearest is ${nameOf(nearest.instance)}: ${nearest.fit.message}`
      : `the catalogue has no instance that ${wish.engine} runs on`,
  };
}

/** Whether the engine can compute on this hardware at all. */
function runsOn({ engine, model }: Pick<FitInput, 'engine' | 'model'>, instance: Instance): boolean {
  const profile = PROFILES[engine];
  if (GONE.includes(instance.status) || instance.accelerator === 'neuron') return false;
  if (instance.gpus === 0) return profile.cpuRuntimeGib !== null;
  if (instance.gpus > 1 && !profile.spreads) return false;
  const gpu = gpuFacts(instance);
  const needed = hasFp8(model.weights) ? Math.max(FP8_CAPABILITY, profile.capability) : profile.capability;
  return !gpu || gpu.capability >= needed;
}

function otherKinds(fitting: readonly Choice[], best: Choice): Choice[] {
  const kinds = new Set([best.instance.type]);
  return fitting.filter(({ instance: { type } }) => !kinds.has(type) && kinds.add(type)).slice(0, 2);
}

function bySize(a: Instance, b: Instance): number {
  return (
    a.pricePerHour - b.pricePerHour ||
    a.gpus - b.gpus ||
    (a.gpuMemoryGb ?? 0) - (b.gpuMemoryGb ?? 0) ||
    a.memoryGb - b.memoryGb
  );
}

function overrun({ need, usable }: Fit): number {
  return need / Math.max(usable, 1);
}
