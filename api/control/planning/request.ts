import type { EndpointCreate } from '../../../spec/endpoint.ts';
import { EndpointsError } from '../../../spec/errors.ts';
import { type Image, type ImageRequest, type ImageVariant, imageOf } from '../../../spec/images.ts';

/** What an owner asks for, of a new endpoint or of a changed one. */
export interface Request {
  repository: string;
  revision: string | null;
  /** Null: the engine is to be chosen. */
  image: ImageRequest | null;
  hardware: {
    vendor?: string | undefined;
    region?: string | undefined;
    accelerator?: string | undefined;
    instanceType?: string | undefined;
    instanceSize?: string | undefined;
  };
  model: { task: string | null; command: string[]; args: string[]; env: Record<string, string> };
  secretNames: string[];
  /** The arithmetic refuses nothing (`experimentalFeatures.fitCheck: false`). */
  ignoreFit: boolean;
}

type Framework = NonNullable<EndpointCreate['model']['framework']>;

export function requestOf(body: EndpointCreate): Request {
  const { model, compute = {}, provider = {} } = body;
  const { accelerator, instanceType, instanceSize } = compute;
  return {
    repository: model.repository,
    revision: model.revision ?? null,
    image: imageAskedFor(model),
    hardware: { vendor: provider.vendor, region: provider.region, accelerator, instanceType, instanceSize },
    model: {
      task: model.task ?? null,
      command: model.command ?? [],
      args: model.args ?? [],
      env: model.env ?? {},
    },
    secretNames: Object.keys(model.secrets ?? {}),
    ignoreFit: body.experimentalFeatures?.fitCheck === false,
  };
}

/**
 * The `hf` command sends the toolkit's empty image when none is given. With another framework than the toolkit's that
 * means: the engine of that framework, or whichever suits.
 */
function imageAskedFor({ image, framework }: EndpointCreate['model']): ImageRequest | null {
  const nothingSaid =
    !image || ('huggingface' in image && framework !== undefined && framework !== 'pytorch');
  if (!nothingSaid) return image;
  return framework === 'llamacpp' ? { llamacpp: {} } : null;
}

/** The framework the public API shows for an engine. */
export function frameworkOf(variant: ImageVariant): Framework {
  if (variant === 'llamacpp') return 'llamacpp';
  return variant === 'huggingface' ? 'pytorch' : 'custom';
}

/**
 * An image in which nothing is left to choose.
 * @throws EndpointsError HUB_UNREACHABLE naming what is missing, because without the Hub it cannot be chosen
 */
export function completeImage(image: ImageRequest | null, why: string): Image {
  const missing = image ? imageOf(image) : null;
  if (missing?.ok) return missing.image;
  const fields = missing ? missing.fields.map((field) => `model.image.${field}`).join(', ') : 'model.image';
  throw new EndpointsError(
    'HUB_UNREACHABLE',
    `${why}, and ${fields} cannot be chosen without it: try again, or give ${missing?.fields.length === 1 ? 'it' : 'them'} and the instance yourself`,
  );
}
