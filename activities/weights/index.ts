import { mkdir } from 'node:fs/promises';
import { Context } from '@temporalio/activity';
import { createHub } from '../../hub/client.ts';
import { withLock } from '../../hub/download/lock.ts';
import { EndpointsError } from '../../spec/errors.ts';
import type { SealedSecrets, WeightsPlan } from '../../spec/lifecycle.ts';
import type { ReplicaStage } from '../../spec/states.ts';
import { toApplicationFailure } from '../failures.ts';
import type { HostActivities } from '../interfaces.ts';
import { blobsDir, distinctBlobs, placeFiles, snapshotDir } from './layout.ts';
import { receivedBytes, totalBytes, watchProgress } from './progress.ts';
import { absentFiles, linkSnapshot, touch } from './snapshot.ts';
import { ensureSpace } from './space.ts';

export { evictUnused } from './evict.ts';
export { snapshotDir } from './layout.ts';

export interface WeightsDeps {
  /** The weights folder of this host. */
  dir: string;
  /** Base address of the Hub or a mirror. */
  hubEndpoint: string;
  /** Requests at the same time. */
  parallel: number;
  /** Length of the ranges asked for. */
  partBytes: number;
  unseal: (sealed: string) => Promise<SealedSecrets>;
  /** Progress for readers of the endpoint; best effort. */
  report: (replicaId: string, stage: ReplicaStage, message: string) => void;
  /** Commits whose files containers of this host see. Without it nothing is ever evicted. */
  commitsInUse?: () => Promise<ReadonlySet<string>>;
  /** Without a byte for so long, a transfer is cut and asked for again. Default 30 s. */
  stallMs?: number;
  /** Attempts of one range in a row that bring no byte before the activity fails. Default 6. */
  maxFailures?: number;
}

type Input = Parameters<HostActivities['downloadWeights']>[0];

/** The part of a host's activities that brings weights to it. */
export function createWeightsActivities(deps: WeightsDeps): Pick<HostActivities, 'downloadWeights'> {
  /** What is being brought now, so that no other download evicts it. */
  const preparing = new Set<WeightsPlan>();
  const commitsInUse = async () => {
    const commits = new Set(await deps.commitsInUse?.());
    for (const { commit } of preparing) commits.add(commit);
    return commits;
  };
  return {
    async downloadWeights(input) {
      preparing.add(input.weights);
      try {
        return await download(deps, deps.commitsInUse ? commitsInUse : null, input);
      } catch (error) {
        if (error instanceof EndpointsError && error.retryable)
          deps.report(input.replicaId, 'downloading', `waiting for the Hub: ${error.message}`);
        throw toApplicationFailure(error);
      } finally {
        preparing.delete(input.weights);
      }
    },
  };
}

/** Whether everything is there, by size; marks it as used now. */
export async function weightsPresent(dir: string, weights: WeightsPlan): Promise<boolean> {
  const absent = await absentFiles(placeFiles(dir, weights), ({ target }) => target);
  if (absent.length > 0) return false;
  const root = snapshotDir(dir, weights.repository, weights.commit);
  await mkdir(root, { recursive: true });
  await touch(root);
  return true;
}

async function download(
  deps: WeightsDeps,
  commitsInUse: (() => Promise<ReadonlySet<string>>) | null,
  { replicaId, weights, sealed }: Input,
): Promise<{ downloadedBytes: number }> {
  const { dir } = deps;
  const { repository, commit } = weights;
  const root = snapshotDir(dir, repository, commit);
  const files = placeFiles(dir, weights);
  if (await weightsPresent(dir, weights)) return { downloadedBytes: 0 };

  const { hubToken } = await deps.unseal(sealed);
  const context = Context.current();
  const blobs = distinctBlobs(files);
  await mkdir(blobsDir(dir), { recursive: true });
  const progress = watchProgress(blobs, {
    heartbeat: (details) => context.heartbeat(details),
    report: (message) => deps.report(replicaId, 'downloading', message),
  });
  /** With the locks held. */
  const bring = async () => {
    // Whoever held them before may have brought everything.
    const absent = await absentFiles(blobs, ({ blob }) => blob);
    const absentBytes = totalBytes(absent);
    const neededBytes = absentBytes - (await receivedBytes(absent));
    await ensureSpace({ dir, repository, neededBytes, commitsInUse });
    const presentBytes = totalBytes(blobs) - absentBytes;
    const result = await createHub({ endpoint: deps.hubEndpoint, token: hubToken }).download({
      repository,
      commit,
      files: absent.map(({ file, blob }) => ({ file, destination: blob })),
      parallel: deps.parallel,
      partBytes: deps.partBytes,
      signal: context.cancellationSignal,
      onProgress: ({ doneBytes }) => progress.set(presentBytes + doneBytes),
      ...(deps.stallMs === undefined ? {} : { stallMs: deps.stallMs }),
      ...(deps.maxFailures === undefined ? {} : { maxFailures: deps.maxFailures }),
    });
    await linkSnapshot(root, files);
    await touch(root);
    return result;
  };
  try {
    return await withLocks(
      blobs.map(({ blob }) => `${blob}.lock`).toSorted(),
      bring,
      context.cancellationSignal,
    );
  } finally {
    progress.stop();
  }
}

/** In one order for everybody, so that two downloads with files in common do not wait for each other. */
function withLocks<T>(paths: readonly string[], work: () => Promise<T>, signal: AbortSignal): Promise<T> {
  const [first, ...rest] = paths;
  if (first === undefined) return work();
  return withLock(first, () => withLocks(rest, work, signal), signal);
}
