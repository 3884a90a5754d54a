import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import type Docker from 'dockerode';
import { openDocker } from '../../activities/containers/docker.ts';
import { createContainerActivities } from '../../activities/containers/index.ts';
import { ReplicaRecords } from '../../activities/containers/records.ts';
import { createHealthActivities } from '../../activities/health/index.ts';
import { newHostKey, seal, unseal } from '../../activities/seal.ts';
import type { ContainerInput } from '../../engines/engine.ts';
import { engineFor } from '../../engines/index.ts';
import { errorMessage } from '../../spec/errors.ts';
import type { Instance } from '../../spec/hardware.ts';
import type { Image, LlamacppImage } from '../../spec/images.ts';
import type { ReplicaPlan, SealedSecrets } from '../../spec/lifecycle.ts';
import { containerName, LABELS } from '../../spec/names.ts';
import { needs, skip } from './needs.ts';

/** An image with a real llama.cpp server as its entrypoint, and the model file it is given. */
export const ENGINE_IMAGE = process.env.TEST_LLAMACPP_IMAGE ?? '';
const MODEL_FILE = process.env.TEST_GGUF ?? '';

/** For a `before` hook: skips its suite where Docker, the engine's image or the model is missing. */
export async function needDocker(context: Mocha.Context): Promise<void> {
  needs(context, 'DOCKER_HOST', 'TEST_LLAMACPP_IMAGE', 'TEST_GGUF');
  try {
    await openDocker().ping();
  } catch (error) {
    skip(context, `Docker is not reachable (${errorMessage(error)})`);
  }
}

/** What a worker gives to an activity; without its log of failures that a test provokes. */
export function activityEnvironment(): MockActivityEnvironment {
  return new MockActivityEnvironment({}, { logger: new DefaultLogger('ERROR') });
}

const SMALL: Instance = {
  accelerator: 'cpu',
  type: 'cpu',
  size: 'x1',
  architecture: 'CPU',
  cpus: 1,
  memoryGb: 1,
  gpus: 0,
  pricePerHour: 0,
  status: 'available',
};

export interface PlanChange {
  image?: Partial<LlamacppImage>;
  /** Another image altogether. */
  other?: Image;
  input?: Partial<ContainerInput<never>>;
  secrets?: Partial<SealedSecrets>;
  deadlineMs?: number;
  revision?: number;
}

/** One host on the machine's Docker, under an installation id of its own, with the activities its agent would run. */
export class TestHost {
  readonly docker: Docker = openDocker();
  readonly installation = `t${randomBytes(4).toString('hex')}`;
  readonly reports: string[] = [];
  readonly dir: string;
  readonly records: ReplicaRecords;
  readonly activities: ReturnType<typeof createContainerActivities> &
    ReturnType<typeof createHealthActivities>;
  readonly #publicKey: Awaited<ReturnType<typeof newHostKey>>['publicKey'];
  #replicas = 0;

  private constructor(dir: string, key: Awaited<ReturnType<typeof newHostKey>>) {
    this.dir = dir;
    this.records = new ReplicaRecords(dir);
    this.#publicKey = key.publicKey;
    const deps = {
      docker: this.docker,
      installation: this.installation,
      records: this.records,
      address: '127.0.0.1',
      weightsPath: () => dirname(MODEL_FILE),
      unseal: (sealed: string) => unseal(key.privateKey, sealed),
      report: (_replica: string, _stage: string, message: string) => this.reports.push(message),
    };
    this.activities = { ...createContainerActivities(deps), ...createHealthActivities(deps) };
  }

  static async open(): Promise<TestHost> {
    return new TestHost(await mkdtemp(join(tmpdir(), 'host-')), await newHostKey());
  }

  /** A replica of the sample model on llama.cpp, unless changed. */
  async plan(change: PlanChange = {}): Promise<ReplicaPlan> {
    const replicaId = `00000000-${++this.#replicas}`;
    const { engine, settings } = engineFor(
      change.other ?? {
        llamacpp: {
          url: ENGINE_IMAGE,
          ctxSize: 1024,
          nParallel: 1,
          threadsHttp: 2,
          modelPath: basename(MODEL_FILE),
          ...change.image,
        },
      },
    );
    const servedName = 'some/model';
    return {
      replicaId,
      endpointId: '00000000-0000-0000-0000-000000000000',
      workflowId: `replica/test/${this.installation}/${this.#replicas}`,
      revision: change.revision ?? 1,
      containerName: containerName(this.installation, replicaId),
      weights: { repository: servedName, commit: '0'.repeat(40), files: [] },
      container: engine.container({
        settings,
        instance: SMALL,
        env: {},
        command: [],
        args: [],
        gpus: [],
        servedName,
        ...change.input,
      }),
      sealed: await seal(this.#publicKey, {
        env: {},
        registry: null,
        hubToken: null,
        engineKey: 'engine-key-of-the-test',
        ...change.secrets,
      }),
      readiness: {
        engine: engine.name,
        health: engine.readiness(settings),
        inference: engine.inference(settings, servedName),
        deadlineMs: change.deadlineMs ?? 60_000,
      },
    };
  }

  /** Runs an activity as a worker would. */
  run<A extends unknown[], R>(activity: (...args: A) => Promise<R>, ...args: A): Promise<R> {
    return activityEnvironment().run(activity, ...args);
  }

  /** A started and ready replica. */
  async serve(change: PlanChange = {}): Promise<{ plan: ReplicaPlan; address: string; containerId: string }> {
    const plan = await this.plan(change);
    const { containerId } = await this.run(this.activities.startContainer, plan);
    const { address } = await this.run(this.activities.waitReady, plan);
    return { plan, address, containerId };
  }

  inspect(plan: ReplicaPlan): Promise<Docker.ContainerInspectInfo> {
    return this.docker.getContainer(plan.containerName).inspect();
  }

  /** Leaves nothing of this host behind. */
  async close(): Promise<void> {
    const label = [`${LABELS.installation}=${this.installation}`];
    const containers = await this.docker.listContainers({ all: true, filters: { label } });
    await Promise.all(containers.map((c) => this.docker.getContainer(c.Id).remove({ force: true, v: true })));
    const networks = await this.docker.listNetworks({ filters: { label } });
    await Promise.all(networks.map((n) => this.docker.getNetwork(n.Id).remove()));
    await rm(this.dir, { recursive: true, force: true });
  }
}
