import type { FastifyBaseLogger } from 'fastify';
import { needsNewContainers } from '../../../spec/changes.ts';
import type { CompleteUpdate, EndpointSpec, EndpointUpdate } from '../../../spec/endpoint.ts';
import { findInstance, type Vendor } from '../../../spec/hardware.ts';
import type { Image } from '../../../spec/images.ts';
import { mergeUpdate, type OwnersWish } from '../../../spec/normalize.ts';
import { hostCapacities } from '../../../store/hosts.ts';
import type { ControlDeps } from '../context.ts';
import { type Decision, decide, offersFor } from './decide.ts';
import { completeImage } from './request.ts';

export interface PreparedUpdate {
  /** The update with what its image leaves out decided. */
  body: CompleteUpdate;
  /** What it made of the wish that was seen. */
  wish: OwnersWish;
  /** Null when no container changes, or the endpoint's hardware has left the catalogue. */
  decision: Decision | null;
}

/**
 * What an update makes of an endpoint as it was seen. The Hub is asked only when containers change.
 * @param always also when none does, for a plan
 * @throws EndpointsError naming the field and its value
 */
export async function prepareUpdate(
  deps: Pick<ControlDeps, 'store' | 'hub' | 'config'>,
  seen: OwnersWish,
  update: EndpointUpdate,
  log: FastifyBaseLogger,
  { always = false } = {},
): Promise<PreparedUpdate> {
  const { vendors } = deps.config;
  const { image, ...model } = update.model ?? {};
  // An image that leaves something out is none yet; the stored one stands in for it in the rules over several fields.
  const asWritten: CompleteUpdate = { ...update, ...(update.model ? { model } : {}) };
  const base = mergeUpdate(seen, asWritten, vendors).spec;
  const request = {
    repository: base.model.repository,
    revision: base.model.revision,
    image: image ?? base.model.image,
    hardware: {
      ...base.provider,
      accelerator: base.compute.accelerator,
      instanceType: base.compute.instanceType,
      instanceSize: base.compute.instanceSize,
    },
    model: base.model,
    secretNames: base.model.secretNames,
    ignoreFit: base.experimentalFeatures.fitCheck === false,
  };
  const touched = image !== undefined || needsNewContainers(seen, mergeUpdate(seen, asWritten, vendors));
  if (!touched && !always)
    return { body: asWritten, wish: mergeUpdate(seen, asWritten, vendors), decision: null };
  if (!update.compute && !isListed(vendors, base)) {
    // Hardware that has left the catalogue since must not stand in the way of a change that is not about hardware.
    const complete = completeImage(request.image, 'the instance has left the hardware catalogue');
    const body = withImage(asWritten, image && complete);
    return { body, wish: mergeUpdate(seen, body, vendors), decision: null };
  }
  const { all, open } = offersFor(deps, request, await hostCapacities(deps.store));
  const decision = await decide(deps, request, { all, open }, log);
  const body = touched ? withImage(withArgs(asWritten, base, decision), image && decision.image) : asWritten;
  return { body, wish: mergeUpdate(seen, body, vendors), decision };
}

/** Only where some were chosen: another update of this moment may set the owner's. */
function withArgs(update: CompleteUpdate, { model }: EndpointSpec, { args }: Decision): CompleteUpdate {
  return args.length === model.args.length ? update : { ...update, model: { ...update.model, args } };
}

function withImage(update: CompleteUpdate, image: Image | undefined): CompleteUpdate {
  return image ? { ...update, model: { ...update.model, image } } : update;
}

function isListed(vendors: readonly Vendor[], { provider, compute }: EndpointSpec): boolean {
  const { accelerator, instanceType: type, instanceSize: size } = compute;
  return findInstance(vendors, { ...provider, accelerator, type, size }).ok;
}
