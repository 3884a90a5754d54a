import { setTimeout as sleep } from 'node:timers/promises';
import type Docker from 'dockerode';
import { EndpointsError } from '../../spec/errors.ts';
import type { ReplicaPlan, SealedSecrets } from '../../spec/lifecycle.ts';
import { LABELS } from '../../spec/names.ts';
import { addressOf, containerOptions, type Placement } from './create.ts';
import {
  dockerError,
  engineSentence,
  inspectContainer,
  isAbsent,
  removeContainer,
  statusOf,
} from './docker.ts';
import { exitFailure, finalFailure } from './end.ts';
import { isLocalId } from './exact.ts';
import { ensureImage } from './pull.ts';
import { redact } from './redact.ts';

/** A round is lost only to another call that changes the same container; a removal takes Docker a while. */
const LOST_ROUNDS_MS = 60_000;
const PAUSE_MS = 100;

/**
 * Brings the container of a replica to run, whatever state an earlier or concurrent attempt left: one that runs is
 * taken as it is, one that is frozen is thawed, one that was only created is started, any other is removed and made anew.
 * @throws ApplicationFailure with the classified end when the container exits at once
 * @throws EndpointsError PORT_IN_USE, NO_GPU, BAD_ARGS, IMAGE_NOT_FOUND, DOCKER_UNAVAILABLE, INTERNAL
 */
export async function bringUp(
  docker: Docker,
  plan: ReplicaPlan,
  secrets: SealedSecrets,
  placement: Placement,
): Promise<{ containerId: string; address: string }> {
  const name = plan.containerName;
  const giveUp = Date.now() + LOST_ROUNDS_MS;
  for (; Date.now() < giveUp; await sleep(PAUSE_MS)) {
    const found = await inspectContainer(docker, name);
    if (found && !isUsable(found, plan)) {
      // By id: the name may belong to the container of a concurrent attempt by now.
      await removeContainer(docker, found.Id);
      continue;
    }
    if (found?.State.Paused) await thaw(docker, found.Id);
    const id = found?.Id ?? (await create(docker, plan, secrets, placement));
    if (id === null || !(await start(docker, plan, secrets, id))) continue;
    const info = await inspectContainer(docker, id);
    if (!info) continue;
    const address = addressOf(info, plan.container.port);
    if (info.State.Running && address) return { containerId: id, address };
    throw finalFailure(await exitFailure(docker, info, plan.readiness.engine));
  }
  throw new EndpointsError(
    'INTERNAL',
    `container ${name} was changed by others during every attempt to start it, for ${LOST_ROUNDS_MS / 1000} s`,
  );
}

function isUsable(info: Docker.ContainerInspectInfo, plan: ReplicaPlan): boolean {
  const labels = info.Config.Labels;
  return (
    labels[LABELS.endpoint] === plan.endpointId &&
    labels[LABELS.replica] === plan.replicaId &&
    labels[LABELS.revision] === String(plan.revision) &&
    (info.State.Running || info.State.Status === 'created')
  );
}

/** One that was frozen by a replica whose workflow was lost goes on. */
async function thaw(docker: Docker, id: string): Promise<void> {
  try {
    await docker.getContainer(id).unpause();
  } catch (error) {
    // Running again, ended or gone meanwhile: the look that follows shows it.
    if (statusOf(error) === undefined) throw dockerError(error, `thawing container ${id}`);
  }
}

/** Null when the name was taken in between. */
async function create(
  docker: Docker,
  plan: ReplicaPlan,
  secrets: SealedSecrets,
  placement: Placement,
): Promise<string | null> {
  try {
    return (await docker.createContainer(containerOptions(plan, secrets, placement))).id;
  } catch (error) {
    if (statusOf(error) === 409) return null;
    if (isAbsent(error) && /no such image/i.test(engineSentence(error))) {
      // Removed since it was pulled, by a clean-up of the host.
      if (isLocalId(plan.container.image)) throw lostLocalImage(plan);
      await ensureImage(docker, plan.container.image, { registry: secrets.registry });
      return null;
    }
    throw startError(error, plan, secrets);
  }
}

function lostLocalImage({ containerName, container }: ReplicaPlan): EndpointsError {
  return new EndpointsError(
    'IMAGE_PULL_FAILED',
    `container ${containerName}: its image ${container.image} was removed from the host, and no registry has it`,
  );
}

/** False when the container vanished in between. */
async function start(
  docker: Docker,
  plan: ReplicaPlan,
  secrets: SealedSecrets,
  id: string,
): Promise<boolean> {
  try {
    await docker.getContainer(id).start();
    return true;
  } catch (error) {
    if (statusOf(error) === 304) return true;
    if (isAbsent(error) && /no such container/i.test(engineSentence(error))) return false;
    throw startError(error, plan, secrets);
  }
}

function startError(error: unknown, plan: ReplicaPlan, secrets: SealedSecrets): Error {
  const said = redact(engineSentence(error), [...Object.values(secrets.env), secrets.engineKey]);
  const name = plan.containerName;
  if (/port is already allocated|address already in use/i.test(said))
    return new EndpointsError(
      'PORT_IN_USE',
      `container ${name}: its host port is taken. Docker said: ${said}`,
    );
  if (/could not select device driver|nvidia-container-cli|unresolvable CDI/i.test(said))
    return new EndpointsError(
      'NO_GPU',
      `container ${name}: the host offers no usable GPU to containers; install the driver and the NVIDIA Container Toolkit. Docker said: ${said}`,
    );
  if (/executable file not found|no such file or directory|permission denied|invalid reference/i.test(said))
    return new EndpointsError(
      'BAD_ARGS',
      `container ${name} cannot be started as asked; check model.command, model.args and the image. Docker said: ${said}`,
    );
  if (error instanceof EndpointsError) return error;
  return dockerError(said === engineSentence(error) ? error : new Error(said), `starting container ${name}`);
}
