import type { FastifyBaseLogger } from 'fastify';
import { type Choice, choose } from '../../../engines/choose/choose.ts';
import type { EngineChoice } from '../../../engines/choose/engine.ts';
import { modelKind } from '../../../engines/choose/kind.ts';
import { type Capacity, type Offer, offersOf, openOffers } from '../../../engines/choose/offers.ts';
import type { Engine } from '../../../engines/engine.ts';
import { ENGINES, type EngineSettings, engineFor } from '../../../engines/index.ts';
import type { Kind } from '../../../engines/tasks.ts';
import type { ResolvedModel } from '../../../hub/client.ts';
import { EndpointsError, type ErrorCode } from '../../../spec/errors.ts';
import { type Image, imageOf, requestedVariant, variantOf } from '../../../spec/images.ts';
import type { WeightFile, WeightsPlan } from '../../../spec/lifecycle.ts';
import type { ModelFacts } from '../../../spec/model-facts.ts';
import type { ControlDeps } from '../context.ts';
import { lookAtModel } from './look.ts';
import { completeImage, type Request } from './request.ts';

/** A request with everything it left open decided, and what that rests on. */
export interface Decision {
  image: Image;
  args: string[];
  /** Null where nobody said it and nothing tells. */
  task: string | null;
  offer: Offer;
  /** The commit and the files the engine needs; null leaves it to the workflow to ask the Hub. */
  weights: WeightsPlan | null;
  facts: ModelFacts | null;
  /** All files of the repository. */
  files: readonly WeightFile[];
  /** Null without the Hub. */
  choice: Choice | null;
  suited: EngineChoice[];
  unsuited: EngineChoice[];
  warnings: string[];
}

/** Tasks in the Hub's words, for a model that names none. */
const TASK_OF: Partial<Record<Kind, string>> = {
  generate: 'text-generation',
  embed: 'feature-extraction',
  rank: 'text-ranking',
  classify: 'text-classification',
};

/** The offers a request leaves open. @throws EndpointsError VALIDATION_FAILED naming the field that leaves none */
export function offersFor(
  deps: Pick<ControlDeps, 'config'>,
  request: Request,
  capacities: readonly Capacity[],
) {
  const { vendors } = deps.config;
  const all = offersOf(vendors, capacities);
  const open = openOffers(all, vendors, request.hardware);
  if (!open.ok) throw new EndpointsError('VALIDATION_FAILED', `${open.field}: ${open.message}`);
  return { all, open: open.offers };
}

/**
 * Decides what a request leaves open, from the model as the Hub tells it and the hardware there is, and refuses what cannot
 * work. Without the Hub a request that says everything is taken as it is.
 * @throws EndpointsError VALIDATION_FAILED, DOES_NOT_FIT, NO_USABLE_FILE, HUB_*
 */
export async function decide(
  deps: Pick<ControlDeps, 'hub' | 'config'>,
  request: Request,
  { all, open }: { all: Offer[]; open: Offer[] },
  log: FastifyBaseLogger,
): Promise<Decision> {
  const asked = request.image && engineFor(request.image as Image).engine;
  const refusal = asked?.checkArgs(request.model.args);
  if (refusal) throw new EndpointsError('VALIDATION_FAILED', `model.args: ${refusal}`);
  const look = await lookAtModel(deps.hub, request, log);
  if (!look.found) return withoutHub(request, open, look.warning);
  const { facts, resolved } = look;
  const said = request.model.task ?? facts.pipelineTag;
  const chosen = choose({
    image: request.image,
    model: { ...request.model, task: said },
    facts,
    files: resolved.files,
    open,
    all,
    images: deps.config.engines,
    ignoreFit: request.ignoreFit,
  });
  if (!chosen.ok) {
    // Hardware does not matter where the engine finds nothing it reads.
    if (chosen.memory) assertFiles(request, resolved);
    const { field, message } = chosen.refusal;
    throw new EndpointsError(chosen.memory ? 'DOES_NOT_FIT' : 'VALIDATION_FAILED', `${field}: ${message}`);
  }
  const { choice, suited, unsuited } = chosen;
  const { engine, settings } = engineFor(choice.image);
  const { args } = choice;
  const ownArgs = engine.checkArgs(args);
  if (ownArgs) throw new EndpointsError('VALIDATION_FAILED', `model.args: ${ownArgs}`);
  const selected = engine.selectFiles(resolved.files, settings, { ...request.model, args });
  if (!selected.ok) throw unusable(selected);
  return {
    image: choice.image,
    args,
    task:
      choice.variant === 'custom' ? request.model.task : (said ?? TASK_OF[modelKind(facts, null)] ?? null),
    offer: choice.offer,
    weights: { repository: request.repository, commit: resolved.commit, files: [...selected.files] },
    facts,
    files: resolved.files,
    choice,
    suited,
    unsuited,
    warnings: [look.warning, fitWarning(choice), ...leftOut(engine, request)].filter(
      (warning) => warning !== null,
    ),
  };
}

/**
 * {@link decide}, also on hardware that is only listed where nothing that can be had is large enough.
 * @throws EndpointsError
 */
export async function decideOrPlan(
  deps: Pick<ControlDeps, 'hub' | 'config'>,
  request: Request,
  offers: { all: Offer[]; open: Offer[] },
  log: FastifyBaseLogger,
): Promise<Decision> {
  try {
    return await decide(deps, request, offers, log);
  } catch (error) {
    const listed = error instanceof EndpointsError && error.code === 'DOES_NOT_FIT' && offers.open.length > 1;
    if (!listed) throw error;
    const found = await decide(deps, request, { ...offers, open: offers.open.map(asIfThere) }, log);
    const { vendor, region, instance } = found.offer;
    const is = (offer: Offer) =>
      offer.vendor === vendor && offer.region === region && offer.instance === instance;
    return { ...found, offer: offers.open.find(is) ?? found.offer };
  }
}

function asIfThere(offer: Offer): Offer {
  const { status } = offer.instance;
  return status === 'not_available' || status === 'deprecated' ? offer : { ...offer, missing: null };
}

/** @throws EndpointsError NO_USABLE_FILE when the engine that is asked for reads none of these files */
function assertFiles({ image, model }: Request, { files }: ResolvedModel): void {
  const complete = image && imageOf(image);
  const variant = image && requestedVariant(image).variant;
  if (!image || !variant || (variant === 'llamacpp' && !complete?.ok)) return;
  const settings = { ...requestedVariant(image).settings, ...(complete?.ok ? {} : { url: '' }) };
  const selected = ENGINES[variant].selectFiles(files, settings as EngineSettings, model);
  if (!selected.ok) throw unusable(selected);
}

function unusable({ code, message }: { code: ErrorCode; message: string }): EndpointsError {
  return new EndpointsError(code, `model.repository: ${message}`);
}

function fitWarning({ fit }: Choice): string | null {
  return fit && !fit.ok ? `the arithmetic says that it does not fit: ${fit.message}` : null;
}

/** Says which of the owner's variables the platform's own take the place of, unless they say the same. */
function leftOut(engine: Pick<Engine<never>, 'ownsVariable'>, { model, secretNames }: Request): string[] {
  const plain = Object.entries(model.env).filter(([, value]) => value !== '/repository');
  return [
    ...plain.map(([name]) => ['model.env', name] as const),
    ...secretNames.map((name) => ['model.secrets', name] as const),
  ]
    .filter(([, name]) => engine.ownsVariable(name))
    .map(([field, name]) => `${field}.${name} is left out: the platform sets it itself`);
}

function withoutHub(request: Request, open: readonly Offer[], why: string): Decision {
  const image = completeImage(request.image, why);
  const [offer] = open;
  if (!offer || open.length > 1)
    throw new EndpointsError(
      'HUB_UNREACHABLE',
      `${why}, and the instance cannot be chosen without it: try again, or give provider and compute in full`,
    );
  const { engine, settings } = engineFor(image);
  const contradiction = engine.checkSettings(settings, offer.instance, request.model);
  if (contradiction)
    throw new EndpointsError('VALIDATION_FAILED', `${contradiction.field}: ${contradiction.message}`);
  return {
    image,
    args: request.model.args,
    task: request.model.task,
    offer,
    weights: null,
    facts: null,
    files: [],
    choice: null,
    suited: [{ variant: variantOf(image).variant, reason: 'as asked for' }],
    unsuited: [],
    warnings: [
      `${why}: it is asked again before the first start, and nobody checked whether the model fits`,
      ...leftOut(engine, request),
    ],
  };
}
