import { type Choice, type ChooseInput, candidates, onOffers } from '../../../engines/choose/choose.ts';
import { engineFor } from '../../../engines/index.ts';
import { endpointCreate } from '../../../spec/endpoint.ts';
import { EndpointsError } from '../../../spec/errors.ts';
import type { FreeRoom } from '../../../store/hosts.ts';
import { freeRoom, hostCapacities } from '../../../store/hosts.ts';
import { guard } from '../../auth/guard.ts';
import type { ControlApp, ControlDeps } from '../context.ts';
import { type Decision, decideOrPlan, offersFor } from '../planning/decide.ts';
import { presentFit, presentModel, presentPlace, presentPrice } from '../planning/present.ts';
import { frameworkOf, requestOf } from '../planning/request.ts';
import { type Option, type Recommendation, recommendationSchema } from '../planning/schema.ts';
import { namespaceParams, refusals } from '../schemas.ts';

/** Besides the recommended one: other hardware, then other engines. */
const MAX_HARDWARE = 2;
const MAX_ENGINES = 3;

/** A create request without a name; all but the repository may be left out. */
const wanted = endpointCreate.omit({ name: true }).meta({ id: 'RecommendRequest' });

export function recommendRoutes(app: ControlApp, deps: ControlDeps): void {
  app.route({
    method: 'POST',
    url: '/v2/recommend/:namespace',
    onRequest: guard(deps.store, 'hardware.read'),
    schema: {
      operationId: 'recommend',
      summary: 'Engine, hardware and settings for a model; an extension of the public API',
      tags: ['endpoint'],
      params: namespaceParams,
      body: wanted,
      response: { 200: recommendationSchema, ...refusals },
    },
    handler: async (request): Promise<Recommendation> => {
      const body = { ...request.body, name: 'recommendation' };
      const asked = requestOf(body);
      const offers = offersFor(deps, asked, await hostCapacities(deps.store));
      const decision = await decideOrPlan(deps, asked, offers, request.log);
      const { facts, choice, suited } = decision;
      if (!facts || !choice) throw new EndpointsError('HUB_UNREACHABLE', decision.warnings.join('; '));
      const room = await freeRoom(deps.store, deps.config.placement.cpuOvercommit);
      const input: ChooseInput = {
        image: asked.image,
        model: { ...asked.model, task: decision.task },
        facts,
        files: decision.files,
        ...offers,
        images: deps.config.engines,
        ignoreFit: asked.ignoreFit,
      };
      return {
        model: presentModel(facts, decision.weights),
        recommended: present(choice, decision, room),
        alternatives: [...otherHardware(input, choice), ...otherEngines(input, decision)].map((option) => ({
          ...present(option, decision, room),
          reason: option.why,
        })),
        unsuited: decision.unsuited.filter(({ variant }) => !suited.some((one) => one.variant === variant)),
        warnings: decision.warnings,
      };
    },
  });
}

type Alternative = Choice & { why: string };

/** The same engine on the next kinds of hardware, for when the best is sold out. */
function otherHardware(input: ChooseInput, choice: Choice): Alternative[] {
  const engine = { variant: choice.variant, reason: choice.reason };
  const found: Alternative[] = [];
  const kinds = new Set([choice.offer.instance.type]);
  for (const offer of [...candidates(input, choice.variant), ...input.all]) {
    if (found.length === MAX_HARDWARE) break;
    if (kinds.has(offer.instance.type) || offer.instance.pricePerHour < choice.offer.instance.pricePerHour)
      continue;
    const { choice: other } = onOffers(input, engine, [offer]);
    if (!other) continue;
    kinds.add(offer.instance.type);
    found.push({
      ...other,
      why: `the next larger kind of hardware${offer.missing ? '; for planning only here' : ''}`,
    });
  }
  return found;
}

/** The other engines that suit the model, each on the smallest hardware it can have. */
function otherEngines(input: ChooseInput, { suited, choice }: Decision): Alternative[] {
  return suited
    .filter(({ variant }) => variant !== choice?.variant)
    .flatMap((engine) => {
      const { choice: other } = onOffers(input, engine, candidates(input, engine.variant));
      return other ? [{ ...other, why: engine.reason }] : [];
    })
    .slice(0, MAX_ENGINES);
}

function present(choice: Choice, { facts, task }: Decision, room: readonly FreeRoom[]): Option {
  const { offer, image, args, variant } = choice;
  const { vendor, region, instance } = offer;
  return {
    provider: { vendor, region },
    compute: { accelerator: instance.accelerator, instanceType: instance.type, instanceSize: instance.size },
    model: {
      repository: facts?.repository ?? '',
      framework: frameworkOf(variant),
      task,
      image: { ...image },
      args,
    },
    engine: { name: engineFor(image).engine.name, variant, reason: choice.reason },
    fit: presentFit(choice.fit),
    placement: presentPlace(offer, room),
    price: presentPrice(offer, 1, 1),
  };
}
