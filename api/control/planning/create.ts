import type { FastifyBaseLogger } from 'fastify';
import type { CompleteCreate, EndpointCreate } from '../../../spec/endpoint.ts';
import { variantOf } from '../../../spec/images.ts';
import { normalizeCreate, type OwnersWish } from '../../../spec/normalize.ts';
import { normalizeScaling } from '../../../spec/scaling.ts';
import { assertNameFree } from '../../../store/endpoint-writes.ts';
import { hostCapacities } from '../../../store/hosts.ts';
import type { ControlDeps } from '../context.ts';
import { assertProvider } from '../hardware.ts';
import { type Decision, decide, decideOrPlan, offersFor } from './decide.ts';
import { checkDomain } from './domain.ts';
import { frameworkOf, requestOf } from './request.ts';

export interface Prepared {
  wish: OwnersWish;
  decision: Decision;
}

/**
 * What would be stored for a create request, everything decided that it leaves open. Nothing is written.
 * @param planOnly hardware that nothing brings here will do
 * @throws EndpointsError naming the field and its value
 */
export async function prepareCreate(
  deps: Pick<ControlDeps, 'store' | 'hub' | 'config'>,
  namespace: string,
  body: EndpointCreate,
  log: FastifyBaseLogger,
  { planOnly = false } = {},
): Promise<Prepared> {
  const { vendors } = deps.config;
  const request = requestOf(body);
  const offers = offersFor(deps, request, await hostCapacities(deps.store));
  normalizeScaling(body.compute?.scaling ?? {});
  if (!planOnly && offers.open.every((offer) => offer.vendor === offers.open[0]?.vendor))
    assertProvider(vendors, offers.open[0]?.vendor ?? '');
  await assertNameFree(deps.store, namespace, body.name);
  await checkDomain(deps, body.route?.domain, { namespace, name: body.name });
  const decision = await (planOnly ? decideOrPlan : decide)(deps, request, offers, log);
  return { wish: normalizeCreate(completed(body, decision), vendors), decision };
}

function completed(body: EndpointCreate, { image, args, task, offer }: Decision): CompleteCreate {
  const { vendor, region, instance } = offer;
  const variant = variantOf(image).variant;
  return {
    ...body,
    provider: { vendor, region },
    compute: {
      accelerator: instance.accelerator,
      instanceType: instance.type,
      instanceSize: instance.size,
      scaling: body.compute?.scaling,
    },
    model: {
      ...body.model,
      // An engine that was chosen for the request brings its own framework.
      framework: (body.model.image && body.model.framework) || frameworkOf(variant),
      image,
      args,
      task,
    },
  };
}
