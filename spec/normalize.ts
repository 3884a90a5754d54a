import type { CompleteCreate, CompleteUpdate, EndpointSecrets, EndpointSpec } from './endpoint.ts';
import { EndpointsError } from './errors.ts';
import { mergeGateway } from './gateway.ts';
import { findInstance, type Vendor } from './hardware.ts';
import { type Image, isRedacted, REDACTED_CREDENTIALS } from './images.ts';
import { checkBake } from './rollout.ts';
import { mergeScaling, normalizeScaling } from './scaling.ts';

/** What the owner wants, in the two parts it is stored in. */
export interface OwnersWish {
  spec: EndpointSpec;
  secrets: EndpointSecrets;
}

/**
 * From the body of a create request to what is stored: defaults filled in, hardware found in the catalogue, secret
 * values taken out of the spec.
 * @throws EndpointsError VALIDATION_FAILED naming the field and its value
 */
export function normalizeCreate(body: CompleteCreate, vendors: readonly Vendor[]): OwnersWish {
  const { image, registry } = splitCredentials(body.model.image, null);
  const secrets = body.model.secrets ?? {};
  const { accelerator, instanceType, instanceSize } = body.compute;
  return checked(
    {
      spec: {
        type: body.type,
        provider: body.provider,
        compute: {
          accelerator,
          instanceType,
          instanceSize,
          scaling: normalizeScaling(body.compute.scaling ?? {}),
        },
        model: {
          repository: body.model.repository,
          framework: body.model.framework,
          image,
          revision: body.model.revision ?? null,
          task: body.model.task ?? null,
          env: body.model.env ?? {},
          secretNames: Object.keys(secrets).sort(),
          command: body.model.command ?? [],
          args: body.model.args ?? [],
          fromCatalog: body.model.fromCatalog ?? false,
        },
        tags: body.tags ?? [],
        route: body.route ?? null,
        cacheHttpResponses: body.cacheHttpResponses ?? false,
        experimentalFeatures: body.experimentalFeatures ?? {},
        gateway: mergeGateway(undefined, body.gateway),
      },
      secrets: { env: secrets, registry },
    },
    vendors,
  );
}

/**
 * The stored wish with the given keys replaced: absent means unchanged; `image`, `args`, `command`, `env`, `secrets`
 * and `tags` are replaced as a whole. A secret sent back as it is read (name with an empty value, redacted registry
 * credentials) keeps its stored value.
 * @throws EndpointsError VALIDATION_FAILED naming the field and its value
 */
export function mergeUpdate(
  current: OwnersWish,
  update: CompleteUpdate,
  vendors: readonly Vendor[],
): OwnersWish {
  const { spec } = current;
  const { compute = {}, model = {} } = update;
  const given = model.image && splitCredentials(model.image, current.secrets.registry);
  const secrets = model.secrets ? keepUnshown(current.secrets.env, model.secrets) : current.secrets.env;
  const merged: OwnersWish = {
    spec: {
      type: update.type ?? spec.type,
      provider: spec.provider,
      compute: {
        accelerator: compute.accelerator ?? spec.compute.accelerator,
        instanceType: compute.instanceType ?? spec.compute.instanceType,
        instanceSize: compute.instanceSize ?? spec.compute.instanceSize,
        scaling: compute.scaling ? mergeScaling(spec.compute.scaling, compute.scaling) : spec.compute.scaling,
      },
      model: {
        repository: model.repository ?? spec.model.repository,
        framework: model.framework ?? spec.model.framework,
        image: given ? given.image : spec.model.image,
        revision: orKeep(model.revision, spec.model.revision),
        task: orKeep(model.task, spec.model.task),
        env: model.env ?? spec.model.env,
        secretNames: Object.keys(secrets).sort(),
        command: orKeep(model.command, spec.model.command) ?? [],
        args: orKeep(model.args, spec.model.args) ?? [],
        fromCatalog: spec.model.fromCatalog,
      },
      tags: update.tags ?? spec.tags,
      route: update.route ? { ...spec.route, ...update.route } : orKeep(update.route, spec.route),
      cacheHttpResponses: orKeep(update.cacheHttpResponses, spec.cacheHttpResponses) ?? false,
      experimentalFeatures:
        update.experimentalFeatures === null
          ? {}
          : { ...spec.experimentalFeatures, ...update.experimentalFeatures },
      gateway: mergeGateway(spec.gateway, update.gateway),
    },
    secrets: { env: secrets, registry: given ? given.registry : current.secrets.registry },
  };
  // Hardware that has left the catalogue since must not stand in the way of a change that is not about hardware.
  const { accelerator, instanceType, instanceSize } = compute;
  return checked(merged, accelerator || instanceType || instanceSize ? vendors : null);
}

/** `undefined` keeps, anything else (null too) replaces. */
function orKeep<T>(given: T | undefined, kept: T): T {
  return given === undefined ? kept : given;
}

function keepUnshown(stored: Record<string, string>, given: Record<string, string>): Record<string, string> {
  const entries = Object.entries(given).map(([name, value]) => [
    name,
    value === '' && Object.hasOwn(stored, name) ? stored[name] : value,
  ]);
  return Object.fromEntries(entries);
}

function splitCredentials(
  image: Image,
  stored: EndpointSecrets['registry'],
): { image: Image; registry: EndpointSecrets['registry'] } {
  if (!('custom' in image) || !image.custom.credentials) return { image, registry: null };
  const { username, password } = image.custom.credentials;
  const registry = isRedacted(image.custom.credentials) ? stored : { username, password: password ?? '' };
  if (!registry)
    throw new EndpointsError(
      'VALIDATION_FAILED',
      'model.image.custom.credentials: redacted credentials keep the stored ones, and none are stored: give username and password',
    );
  return { image: { custom: { ...image.custom, credentials: REDACTED_CREDENTIALS } }, registry };
}

/** The rules that need more than one field. `vendors` null: the hardware is as it was. */
function checked(wish: OwnersWish, vendors: readonly Vendor[] | null): OwnersWish {
  const { compute, model, provider } = wish.spec;
  checkBake(wish.spec.experimentalFeatures);
  if (vendors) {
    const found = findInstance(vendors, {
      ...provider,
      accelerator: compute.accelerator,
      type: compute.instanceType,
      size: compute.instanceSize,
    });
    if (!found.ok) throw new EndpointsError('VALIDATION_FAILED', `${found.field}: ${found.message}`);
    const { status } = found.instance;
    if (status === 'not_available' || status === 'deprecated')
      throw new EndpointsError(
        'VALIDATION_FAILED',
        `compute.instanceType: ${compute.instanceType} ${compute.instanceSize} is ${status.replace('_', ' ')} in ${provider.vendor} ${provider.region}: choose another instance`,
      );
  }
  const both = model.secretNames.find((name) => Object.hasOwn(model.env, name));
  if (both)
    throw new EndpointsError(
      'VALIDATION_FAILED',
      `model.secrets: '${both}' is also in model.env: keep it in one of the two`,
    );
  return wish;
}
