import type { Image, ImageVariant, SettingsRequest } from '../../spec/images.ts';
import type { SettingsRefusal } from '../engine.ts';
import { type Fit, fitOn } from '../fit/fit.ts';
import { nameOf } from '../hardware-rules.ts';
import { engineFor } from '../index.ts';
import { type CompletionInput, completions } from './settings.ts';
import { shapeOf, sizeOf, wishOf } from './size.ts';

/** One way to run a model on one kind of hardware, and what stands against it. */
export interface Attempt {
  variant: ImageVariant;
  image: Image;
  /** The owner's, behind those that were chosen. */
  args: string[];
  /** Null where the model's size or its layout is not known. */
  fit: Fit | null;
  /** `memory` is told apart, because other hardware helps there. */
  refusal: (SettingsRefusal & { memory: boolean }) | null;
}

export interface AttemptInput extends CompletionInput {
  variant: ImageVariant;
  request: SettingsRequest;
  /** This hardware is what was asked for, and none of several that would do. */
  given: boolean;
  /** The owner has switched the arithmetic off: it is done and refuses nothing. */
  ignoreFit: boolean;
}

/**
 * Tries a request on one kind of hardware, with what it leaves out filled in. Of several files of a GGUF repository the
 * first that fits is taken.
 */
export function attempt(input: AttemptInput): Attempt | null {
  const tried = completions(input.variant, input.request, input).map((done) => judge(input, done));
  return tried.find(({ refusal }) => refusal === null) ?? tried.at(0) ?? null;
}

function judge(input: AttemptInput, { image, args: chosen }: { image: Image; args: string[] }): Attempt {
  const { facts, files, instance, variant } = input;
  const { engine, settings } = engineFor(image);
  const model = { ...input.model, args: [...chosen, ...input.model.args] };
  const outcome = (fit: Fit | null, refusal: SettingsRefusal | null, memory = false): Attempt => ({
    variant,
    image,
    args: model.args,
    fit,
    refusal: refusal && { ...refusal, memory },
  });
  const contradiction = engine.checkSettings(settings, instance, model);
  if (contradiction) return outcome(null, contradiction);
  const selected = engine.selectFiles(files, settings, model);
  const size = selected.ok ? sizeOf(facts, selected.files) : null;
  const wish = wishOf(image, model, instance, shapeOf(facts));
  if (!size || !wish) return outcome(null, null);
  const fit = fitOn({ ...wish, model: size, instance });
  return outcome(fit, refusalOf(input, image, fit), fit.refused === 'memory');
}

function refusalOf(
  { instance, facts, given, ignoreFit, variant }: AttemptInput,
  image: Image,
  fit: Fit,
): SettingsRefusal | null {
  switch (fit.refused) {
    case null:
      return null;
    case 'memory': {
      // A rule of thumb is good enough to choose by, and too rough to refuse by.
      if (ignoreFit || (given && fit.longestContext === null && fit.weights < fit.usable)) return null;
      const shorter = (fit.longestContext ?? 0) >= 512 && fit.context > (fit.longestContext ?? 0);
      const hint = shorter
        ? `; a context of at most ${fit.longestContext} tokens would fit (${lengthField(image)})`
        : '';
      return {
        field: 'compute.instanceSize',
        message: `'${facts.repository}' does not fit on ${nameOf(instance)}: ${fit.message}${hint}`,
      };
    }
    case 'context':
      return ignoreFit ? null : { field: lengthField(image), message: `${fit.message}: set at most that` };
    case 'heads':
      return {
        field: variant === 'tgi' ? 'compute.instanceSize' : `model.image.${variant}.tensorParallelSize`,
        message: fit.message,
      };
  }
}

/** Where the length of a request is set. */
function lengthField(image: Image): string {
  if ('llamacpp' in image) return 'model.image.llamacpp.ctxSize';
  if ('tgi' in image) return 'model.image.tgi.maxTotalTokens';
  return 'model.args';
}
