import { patched, workflowInfo } from '@temporalio/workflow';
import type { NoPlace, ReplicaPlan } from '../spec/lifecycle.ts';
import { setAttributes } from './attributes.ts';
import { control, hub, onHost, store } from './options.ts';
import type { ReplicaState, Serving } from './replica-state.ts';
import { megabytes, summaryOf } from './words.ts';

/** How a replica comes into service: place → weights and image → container → first real inference → route in. */
export async function start(state: ReplicaState): Promise<Serving> {
  const { ref, input } = state;
  const { number, revision } = input;
  // Until 0.2 every step was one of its own.
  const atOnce = patched('start-at-once');
  if (!atOnce || !input.pinned) await store.beginReplica({ ...ref, number, revision });
  if (!input.pinned) {
    await hub.pinRevision.executeWithOptions({ summary: summaryOf(`resolve ${input.model}`) }, [
      { endpointId: ref.endpointId, revision },
    ]);
  }
  const planned = atOnce ? await prepare(state) : await placeAndPlan(state);
  const started = atOnce && planned.plan.pinnedImage ? await startAtOnce(state, planned) : undefined;
  return started ?? (await startStepByStep(state, planned, atOnce));
}

interface Planned {
  hostId: string;
  plan: ReplicaPlan;
}

/** Row, place and plan in one look at the store, unless there is no room. */
async function prepare(state: ReplicaState): Promise<Planned> {
  const { number, revision } = state.input;
  const { workflowId } = workflowInfo();
  const prepared = await store.prepareReplica.executeWithOptions(
    { summary: 'a host with room; files, container, sealed secrets' },
    [{ ...state.ref, number, revision, workflowId }],
  );
  if (prepared.hostId === null) return await planOn(state, await awaitPlace(state, prepared));
  settleOn(state, prepared.hostId);
  return prepared;
}

async function placeAndPlan(state: ReplicaState): Promise<Planned> {
  const place = await store.reservePlace.executeWithOptions({ summary: 'a host with room' }, [state.ref]);
  return await planOn(state, place.hostId ?? (await awaitPlace(state, place)));
}

async function awaitPlace(state: ReplicaState, none: NoPlace): Promise<string> {
  const { view, ref } = state;
  let place: { hostId: string } | NoPlace = none;
  while (place.hostId === null) {
    const nowhere = place.nowhere === true;
    Object.assign(view, { blocked: true, fitsNowhere: nowhere });
    state.report('pending', place.message, { tell: true });
    const summary = nowhere ? 'wait for a host that is large enough' : 'wait for a host with room';
    place = await control.awaitPlace.executeWithOptions({ summary }, [{ ...ref, nowhere }]);
  }
  Object.assign(view, { blocked: false, fitsNowhere: false });
  return place.hostId;
}

async function planOn(state: ReplicaState, hostId: string): Promise<Planned> {
  settleOn(state, hostId);
  const { workflowId } = workflowInfo();
  const plan = await store.planReplica.executeWithOptions({ summary: 'files, container, sealed secrets' }, [
    { ...state.ref, number: state.input.number, hostId, workflowId },
  ]);
  return { hostId, plan };
}

function settleOn(state: ReplicaState, hostId: string): void {
  state.hostId = hostId;
  setAttributes({ EndpointHost: hostId });
}

/**
 * Container and first inference in one step on the host, which is all there is to do where image and weights are there
 * from an earlier start; undefined when they are not.
 */
async function startAtOnce(state: ReplicaState, { hostId, plan }: Planned): Promise<Serving | undefined> {
  state.container = { name: plan.containerName, stopGraceMs: plan.container.stopGraceMs };
  state.report('initializing', 'starting engine', { tell: true });
  const { address } = await onHost(hostId).ready.startReady.executeWithOptions(
    { summary: `start ${plan.containerName}, ${readySummary(plan)}` },
    [plan],
  );
  return address === null ? undefined : await open(state, address, servingOf(hostId, plan));
}

async function startStepByStep(
  state: ReplicaState,
  { hostId, plan: planned }: Planned,
  atOnce: boolean,
): Promise<Serving> {
  const host = onHost(hostId);
  state.report('downloading', 'fetching weights and image', { tell: true });
  const [, image] = await Promise.all([fetchWeights(state, host, planned), fetchImage(state, host, planned)]);
  const plan = { ...planned, container: { ...planned.container, image } };

  state.container = { name: plan.containerName, stopGraceMs: plan.container.stopGraceMs };
  state.report('initializing', 'starting engine');
  await host.containers.startContainer.executeWithOptions({ summary: `start ${plan.containerName}` }, [plan]);
  state.report(
    'initializing',
    plan.readiness.inference ? 'waiting for first inference' : 'waiting until it is healthy',
  );
  const { address } = await host.ready.waitReady.executeWithOptions({ summary: readySummary(plan) }, [plan]);
  const serving = servingOf(hostId, plan);
  if (atOnce) return await open(state, address, serving);

  await store.routeIn.executeWithOptions({ summary: 'requests go to it from now on' }, [
    { ...state.ref, address },
  ]);
  const readyAt = Date.now();
  state.view.readyAt = readyAt;
  state.report('running', 'serving', { tell: true });
  return { ...serving, readyAt };
}

function readySummary({ readiness }: ReplicaPlan): string {
  return readiness.inference ? 'health, then a real inference' : 'health';
}

function servingOf(hostId: string, plan: ReplicaPlan): Omit<Serving, 'readyAt'> {
  return { hostId, containerName: plan.containerName, stopGraceMs: plan.container.stopGraceMs };
}

/** Into service: route and stage in one step; requests may come from here on. */
export async function open(
  state: ReplicaState,
  address: string,
  serving: Omit<Serving, 'readyAt'>,
): Promise<Serving> {
  // A report of an earlier stage must not come after this one.
  await state.reported();
  await store.openReplica.executeWithOptions({ summary: 'requests go to it from now on' }, [
    { ...state.ref, address, message: 'serving' },
  ]);
  const readyAt = Date.now();
  state.view.readyAt = readyAt;
  state.report('running', 'serving', { tell: true, stored: true });
  return { ...serving, readyAt };
}

async function fetchWeights(
  state: ReplicaState,
  host: ReturnType<typeof onHost>,
  plan: ReplicaPlan,
): Promise<void> {
  if (!plan.weights) return;
  const { repository, commit, files } = plan.weights;
  const size = megabytes(files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0));
  const summary = summaryOf(`${size} of ${repository}@${commit.slice(0, 8)}`);
  await host.fetch.downloadWeights.executeWithOptions({ summary }, [
    { replicaId: state.ref.replicaId, weights: plan.weights, sealed: plan.sealed },
  ]);
}

/** @returns the exact image to run: the one that all replicas of this revision run */
async function fetchImage(
  state: ReplicaState,
  host: ReturnType<typeof onHost>,
  plan: ReplicaPlan,
): Promise<string> {
  const { endpointId, revision } = state.input;
  const { image, gpus } = plan.container;
  const pull = (pinned: string | null) =>
    host.image.pullImage.executeWithOptions({ summary: summaryOf(pinned ?? image) }, [
      { replicaId: state.ref.replicaId, image, pinned, gpus: gpus.length, sealed: plan.sealed },
    ]);
  const own = (await pull(plan.pinnedImage ?? null)).image;
  if (own === undefined) return image;
  if (plan.pinnedImage || !patched('pin-image')) return own;
  const pinned = await store.pinImage.executeWithOptions({ summary: summaryOf(`pin ${own}`) }, [
    { endpointId, revision, image: own },
  ]);
  // Another replica was first, and the tag has moved in between.
  return pinned.image === own ? own : ((await pull(pinned.image)).image ?? pinned.image);
}
