import type { FastifyBaseLogger } from 'fastify';
import { engineFor } from '../../engines/index.ts';
import type { EndpointSpec } from '../../spec/endpoint.ts';
import { EndpointsError, errorMessage } from '../../spec/errors.ts';
import { findInstance, type Instance, type Vendor } from '../../spec/hardware.ts';
import type { WeightsPlan } from '../../spec/lifecycle.ts';
import type { ModelSource } from './context.ts';

/** A client may give up after 10 s (the Go client does), and the write itself needs time too. */
const HUB_DEADLINE_MS = 5000;

/**
 * Asks the engine whether it can take the settings and arguments on this hardware, and the Hub for the commit and the
 * files that this model needs, so that what is wrong is told to whoever wrote it.
 * Null when the Hub does not answer in time: the write is accepted, and the workflow asks again.
 * @throws EndpointsError VALIDATION_FAILED, HUB_NOT_FOUND, HUB_GATED, HUB_AUTH, HUB_REVISION, NO_USABLE_FILE
 */
export async function resolveWeights(
  hub: ModelSource,
  spec: Pick<EndpointSpec, 'model' | 'compute' | 'provider'>,
  vendors: readonly Vendor[],
  log: FastifyBaseLogger,
  deadlineMs = HUB_DEADLINE_MS,
): Promise<WeightsPlan | null> {
  const { model } = spec;
  const { repository, revision } = model;
  const { engine, settings } = engineFor(model.image);
  const refusal = engine.checkArgs(model.args);
  if (refusal) throw new EndpointsError('VALIDATION_FAILED', `model.args: ${refusal}`);
  const instance = instanceOf(spec, vendors);
  const contradiction = instance && engine.checkSettings(settings, instance, model);
  if (contradiction)
    throw new EndpointsError('VALIDATION_FAILED', `${contradiction.field}: ${contradiction.message}`);
  let found: Awaited<ReturnType<ModelSource['resolveModel']>>;
  try {
    found = await Promise.race([hub.resolveModel({ repository, revision }), passed(deadlineMs)]);
  } catch (error) {
    if (error instanceof EndpointsError && !error.retryable) {
      const field = error.code === 'HUB_REVISION' ? 'model.revision' : 'model.repository';
      throw new EndpointsError(error.code, `${field}: ${error.message}`, { cause: error });
    }
    log.warn({ repository, reason: errorMessage(error) }, 'the Hub did not answer; the workflow will ask');
    return null;
  }
  const selected = engine.selectFiles(found.files, settings, model);
  if (!selected.ok) throw new EndpointsError(selected.code, `model.repository: ${selected.message}`);
  return { repository, commit: found.commit, files: selected.files };
}

/** Null for hardware that has left the catalogue since the endpoint was made. */
function instanceOf(
  { compute, provider }: Pick<EndpointSpec, 'compute' | 'provider'>,
  vendors: readonly Vendor[],
): Instance | null {
  const { accelerator, instanceType: type, instanceSize: size } = compute;
  const found = findInstance(vendors, { ...provider, accelerator, type, size });
  return found.ok ? found.instance : null;
}

function passed(deadlineMs: number): Promise<never> {
  return new Promise((_, reject) => {
    setTimeout(() => reject(new Error(`no answer within ${deadlineMs} ms`)), deadlineMs).unref();
  });
}

/** Whether two models need the same files of the same repository. */
export function sameFiles(a: EndpointSpec['model'], b: EndpointSpec['model']): boolean {
  return (
    a.repository === b.repository &&
    a.revision === b.revision &&
    JSON.stringify([a.image, a.args, a.env]) === JSON.stringify([b.image, b.args, b.env])
  );
}
