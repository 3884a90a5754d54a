import { architecturesOf } from '../../../engines/choose/kind.ts';
import type { Offer } from '../../../engines/choose/offers.ts';
import { shapeOf } from '../../../engines/choose/size.ts';
import type { Fit } from '../../../engines/fit/fit.ts';
import { engineFor } from '../../../engines/index.ts';
import type { EndpointSpec } from '../../../spec/endpoint.ts';
import { variantOf } from '../../../spec/images.ts';
import type { WeightsPlan } from '../../../spec/lifecycle.ts';
import type { ModelFacts } from '../../../spec/model-facts.ts';
import type { FreeRoom } from '../../../store/hosts.ts';
import { replicasThatFit } from '../hardware.ts';
import type { Decision } from './decide.ts';
import type { Plan, Recommendation } from './schema.ts';

/** The plan of an endpoint that would be stored as `spec`. */
export function presentPlan(
  name: string,
  spec: EndpointSpec,
  decision: Decision,
  room: readonly FreeRoom[],
): Plan {
  const { model, compute } = spec;
  const { offer, choice, suited } = decision;
  const { minReplica, maxReplica } = compute.scaling;
  return {
    dryRun: true,
    name,
    type: spec.type,
    provider: spec.provider,
    compute: {
      accelerator: compute.accelerator,
      instanceType: compute.instanceType,
      instanceSize: compute.instanceSize,
    },
    scaling: { ...compute.scaling },
    model: {
      repository: model.repository,
      framework: model.framework,
      task: model.task,
      image: { ...model.image },
      args: model.args,
    },
    engine: {
      name: engineFor(model.image).engine.name,
      variant: variantOf(model.image).variant,
      reason: choice?.reason ?? suited[0]?.reason ?? '',
    },
    container: presentContainer(spec, decision),
    modelFacts: decision.facts && presentModel(decision.facts, decision.weights),
    fit: presentFit(choice?.fit ?? null),
    placement: presentPlace(offer, room),
    price: presentPrice(offer, minReplica, maxReplica),
    warnings: decision.warnings,
  };
}

/** What a replica's container is asked for, without one value of its environment. */
function presentContainer({ model }: EndpointSpec, { offer, weights }: Decision): Plan['container'] {
  const { engine, settings } = engineFor(model.image);
  const { instance } = offer;
  const container = engine.container({
    settings,
    instance,
    env: model.env,
    command: model.command,
    args: model.args,
    gpus: Array.from({ length: instance.gpus }, (_, index) => index),
    servedName: model.repository,
    task: model.task,
  });
  const secrets = model.secretNames.filter((secret) => !engine.ownsVariable(secret));
  return {
    image: container.image,
    entrypoint: container.entrypoint,
    args: container.args,
    env: Object.keys(container.env).sort(),
    secrets: [...secrets, ...(engine.apiKeyVariable ? [engine.apiKeyVariable] : [])].sort(),
    mounts:
      weights?.files.length === 0
        ? []
        : [
            {
              source: `${model.repository}@${weights?.commit ?? model.revision ?? 'main'}`,
              target: '/repository',
              readOnly: true,
            },
          ],
    devices: instance.gpus > 0 ? [{ kind: 'gpu', count: instance.gpus }] : [],
    port: container.port,
    healthRoute: engine.healthRoute(settings),
    cpus: container.cpus,
    memoryBytes: container.memoryBytes,
    sharedMemoryBytes: container.shmBytes,
    stopSignal: container.stopSignal,
    stopGraceMs: container.stopGraceMs,
  };
}

export function presentModel(facts: ModelFacts, weights: WeightsPlan | null): Recommendation['model'] {
  const { config, tokenizer } = facts;
  const shape = shapeOf(facts);
  const gguf = facts.weights?.format === 'gguf' ? facts.weights.metadata['general.architecture'] : null;
  const [architecture = config?.model_type ?? gguf] = architecturesOf(facts);
  return {
    repository: facts.repository,
    commit: facts.commit,
    task: facts.pipelineTag,
    library: facts.library,
    licence: facts.licence,
    gated: facts.gated,
    private: facts.private,
    architecture: typeof architecture === 'string' ? architecture : null,
    parameters:
      facts.weights?.format === 'safetensors'
        ? Object.values(facts.weights.parameters).reduce((sum, count) => sum + count, 0)
        : null,
    contextLength: shape?.maxContext ?? null,
    chatTemplate: tokenizer.chatTemplate,
    downloadBytes: weights?.files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) ?? null,
  };
}

export function presentFit(fit: Fit | null): Plan['fit'] {
  if (!fit) return null;
  return {
    fits: fit.ok,
    message: fit.message,
    weightsBytes: Math.round(fit.weights),
    cacheBytes: Math.round(fit.cache),
    overheadBytes: Math.round(fit.overhead),
    neededBytes: Math.round(fit.need),
    usableBytes: Math.round(fit.usable),
    context: fit.context,
    longestContext: fit.longestContext,
    gpusPerCopy: fit.tensorParallel,
  };
}

export function presentPlace(offer: Offer, room: readonly FreeRoom[]): Plan['placement'] {
  const { vendor, region, instance, missing } = offer;
  const here = room.filter((host) => host.vendor === vendor && host.region === region);
  return {
    vendor,
    region,
    accelerator: instance.accelerator,
    instanceType: instance.type,
    instanceSize: instance.size,
    machineType: instance.machineType ?? null,
    missing,
    roomForReplicas: here.length
      ? here.reduce((sum, host) => sum + replicasThatFit(host, instance), 0)
      : null,
  };
}

export function presentPrice({ instance }: Offer, minReplica: number, maxReplica: number): Plan['price'] {
  const { pricePerHour } = instance;
  const times = (replicas: number) => Math.round(pricePerHour * replicas * 1e4) / 1e4;
  return {
    currency: 'USD',
    replicaHour: pricePerHour,
    minHour: times(minReplica),
    maxHour: times(maxReplica),
  };
}
