import type { EngineImages } from '../../spec/engine-images.ts';
import type { ImageRequest, ImageVariant, SettingsRequest } from '../../spec/images.ts';
import { requestedVariant } from '../../spec/images.ts';
import type { ModelFacts } from '../../spec/model-facts.ts';
import type { ModelRequest, RepositoryFile, SettingsRefusal } from '../engine.ts';
import { PROFILES, type SizedEngine } from '../fit/memory.ts';
import { hasFp8 } from '../fit/weights.ts';
import { gpuFacts } from '../gpus.ts';
import { nameOf } from '../hardware-rules.ts';
import { type Attempt, attempt } from './attempt.ts';
import { chooseEngines, type EngineChoice } from './engine.ts';
import { ggufVariants } from './gguf-files.ts';
import type { Offer } from './offers.ts';

export interface ChooseInput {
  /** Null: the engine is chosen too. */
  image: ImageRequest | null;
  model: ModelRequest;
  facts: ModelFacts;
  files: readonly RepositoryFile[];
  /** What the request leaves open, cheapest first. */
  open: readonly Offer[];
  /** The whole catalogue, for what would do instead. */
  all: readonly Offer[];
  images: EngineImages;
  ignoreFit: boolean;
}

/** An engine with its settings on a row of the catalogue. */
export interface Choice extends Attempt {
  offer: Offer;
  /** Why this engine. */
  reason: string;
}

export type Chosen =
  | { ok: true; choice: Choice; unsuited: EngineChoice[]; suited: EngineChoice[] }
  | { ok: false; memory: boolean; refusal: SettingsRefusal };

/**
 * Fills in what a request leaves open: the engine that suits the model, the smallest hardware that fits it and can be had,
 * the engine's settings. What is given is kept, and refused with the reason where it cannot work.
 */
export function choose(input: ChooseInput): Chosen {
  const { suited, unsuited } = enginesOf(input);
  const [first] = suited;
  if (!first)
    return {
      ok: false,
      memory: false,
      refusal: {
        field: 'model.repository',
        message: `no engine runs '${input.facts.repository}': ${unsuited.map(({ variant, reason }) => `${variant}: ${reason}`).join('; ')}`,
      },
    };
  let refused: { offer: Offer; attempt: Attempt } | null = null;
  for (const engine of suited) {
    const found = onOffers(input, engine, candidates(input, engine.variant));
    if (found.choice) return { ok: true, choice: found.choice, suited, unsuited };
    refused ??= found.refused;
    // Arguments are written for one engine, and what contradicts them would not contradict another's.
    if (input.model.args.length > 0 || (refused && !refused.attempt.refusal?.memory)) break;
  }
  return { ok: false, ...explain(input, first, refused) };
}

/** The first of these offers on which the engine can run the model, and what stood against the one that came nearest. */
export function onOffers(
  input: ChooseInput,
  engine: EngineChoice,
  offers: readonly Offer[],
): { choice: Choice | null; refused: { offer: Offer; attempt: Attempt } | null } {
  let nearest: { offer: Offer; attempt: Attempt } | null = null;
  const { model, facts, files, images, ignoreFit } = input;
  const { variant, reason } = engine;
  const given = input.open.length === 1 && offers.length === 1;
  for (const request of requestsFor(input, variant, offers.length > 1))
    for (const offer of offers) {
      const { instance } = offer;
      const tried = attempt({ variant, request, model, facts, files, images, ignoreFit, given, instance });
      if (!tried) continue;
      if (!tried.refusal) return { choice: { ...tried, offer, reason }, refused: nearest };
      if (!nearest || overrun(tried) < overrun(nearest.attempt)) nearest = { offer, attempt: tried };
    }
  return { choice: null, refused: nearest };
}

/** A worse file of a GGUF repository is no reason for cheaper hardware: each is tried on all of it before the next. */
function requestsFor(input: ChooseInput, variant: ImageVariant, open: boolean): SettingsRequest[] {
  const request = settingsFor(input, variant);
  const named = 'modelPath' in request && request.modelPath !== undefined;
  if (!open || variant !== 'llamacpp' || named) return [request];
  const glob = 'variant' in request ? request.variant : null;
  return ggufVariants(input.files, glob).map(({ path }) => ({ ...request, modelPath: path }));
}

/** Offers for an engine where the request leaves some choice: what can be had, and GPUs first for engines made for them. */
export function candidates(input: ChooseInput, variant: ImageVariant): Offer[] {
  const { open } = input;
  if (open.length === 1) return [...open];
  const usable = open.filter(({ missing }) => missing === null);
  return runnable(usable, variant, input.facts);
}

/** Without hardware the engine cannot compute on. vLLM has a build for CPUs, taken where there are no GPUs. */
function runnable(offers: readonly Offer[], variant: ImageVariant, facts: ModelFacts): Offer[] {
  const name = PROFILE_OF[variant];
  if (!name) return [...offers];
  const profile = PROFILES[name];
  const fp8 = facts.weights?.format === 'safetensors' && hasFp8({ parameters: facts.weights.parameters });
  const needed = fp8 ? Math.max(89, profile.capability) : profile.capability;
  const gpus = offers.filter(({ instance }) => {
    if (instance.gpus === 0 || instance.accelerator === 'neuron') return false;
    if (instance.gpus > 1 && !profile.spreads) return false;
    return (gpuFacts(instance)?.capability ?? needed) >= needed;
  });
  const cpus = offers.filter(({ instance }) => instance.accelerator === 'cpu');
  if (profile.cpuRuntimeGib !== null)
    return offers.filter((offer) => cpus.includes(offer) || gpus.includes(offer));
  return variant === 'vLLM' && gpus.length === 0 ? cpus : gpus;
}

const PROFILE_OF: Partial<Record<ImageVariant, SizedEngine>> = {
  vLLM: 'vllm',
  sGLang: 'sglang',
  tgi: 'tgi',
  tei: 'tei',
  llamacpp: 'llamacpp',
  huggingface: 'huggingface',
};

function enginesOf({ image, facts, files, model }: ChooseInput) {
  if (!image) return chooseEngines(facts, files, model.task);
  const { variant } = requestedVariant(image);
  return { suited: [{ variant, reason: 'as asked for' }], unsuited: [] };
}

function settingsFor({ image }: ChooseInput, variant: ImageVariant): SettingsRequest {
  if (!image) return {};
  const asked = requestedVariant(image);
  return asked.variant === variant ? asked.settings : {};
}

/** The refusal of a request that nothing satisfies, with the smallest hardware that would. */
function explain(
  input: ChooseInput,
  engine: EngineChoice,
  refused: { offer: Offer; attempt: Attempt } | null,
): { memory: boolean; refusal: SettingsRefusal } {
  const { refusal } = refused?.attempt ?? {};
  if (refusal && !refusal.memory) return { memory: false, refusal };
  if (engine.variant === 'llamacpp' && !refusal && ggufVariants(input.files).length === 0)
    return { memory: false, refusal: noGguf(input.facts.repository) };
  const would = onOffers(input, engine, runnable(input.all, engine.variant, input.facts)).choice;
  const instead = would
    ? `the smallest that would do is ${describe(would.offer)}`
    : 'nothing in the catalogue would do: choose a smaller model, or one that is quantised';
  if (refusal)
    return { memory: true, refusal: { field: refusal.field, message: `${refusal.message}; ${instead}` } };
  return {
    memory: true,
    refusal: {
      field: 'compute',
      message: `${engine.variant} for '${input.facts.repository}' runs on none of the hardware that can be had here; ${instead}`,
    },
  };
}

function noGguf(repository: string): SettingsRefusal {
  return {
    field: 'model.repository',
    message: `'${repository}' has no GGUF file at all; llama.cpp needs a repository with one`,
  };
}

function describe({ vendor, region, instance, missing }: Offer): string {
  const price = `$${instance.pricePerHour} an hour`;
  return `${nameOf(instance)} of ${vendor} ${region} (${price}${missing ? '; for planning only here' : ''})`;
}

function overrun({ fit }: Attempt): number {
  return fit ? fit.need / Math.max(fit.usable, 1) : Number.POSITIVE_INFINITY;
}
