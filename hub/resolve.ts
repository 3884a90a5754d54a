import { listFiles, modelInfo } from '@huggingface/hub';
import { EndpointsError } from '../spec/errors.ts';
import type { WeightFile } from '../spec/lifecycle.ts';
import { type ApiOptions, apiFetch } from './api.ts';
import { fileUrl } from './urls.ts';

/** A model at one commit. */
export interface ResolvedModel {
  /** Full commit hash. */
  commit: string;
  /** Every file of the commit, in the Hub's order. */
  files: WeightFile[];
  /** Access to its files is granted one by one; the caller has it, or resolving would have failed. */
  gated: boolean;
  private: boolean;
  /** The Hub's task, such as `text-generation`; null when the model names none. */
  pipelineTag: string | null;
  /** Such as `transformers`; null when the model names none. */
  library: string | null;
  /** Such as `apache-2.0`; null when the model names none. */
  licence: string | null;
}

/**
 * Resolves a branch, tag or commit (null: the default branch) to the commit it names now and lists that commit's files.
 * @throws EndpointsError HUB_NOT_FOUND, HUB_GATED, HUB_AUTH, HUB_REVISION, HUB_UNREACHABLE
 */
export async function resolveModel(
  api: ApiOptions,
  { repository, revision }: { repository: string; revision: string | null },
): Promise<ResolvedModel> {
  const fetch = apiFetch(api, { repository, revision });
  const common = { hubUrl: api.endpoint, fetch };
  try {
    const info = await modelInfo({
      ...common,
      name: repository,
      ...(revision === null ? {} : { revision }),
      additionalFields: ['sha', 'library_name', 'tags'],
    });
    const commit = info.sha;
    if (!/^[0-9a-f]{40}$/.test(commit)) throw new SyntaxError('no commit in the answer');
    const files: WeightFile[] = [];
    for await (const entry of listFiles({
      ...common,
      repo: { type: 'model', name: repository },
      recursive: true,
      revision: commit,
    })) {
      if (entry.type !== 'file') continue;
      files.push({
        path: entry.path,
        sizeBytes: entry.lfs?.size ?? entry.size,
        sha256: entry.lfs?.oid ?? null,
        gitSha1: entry.lfs ? null : (entry.oid ?? null),
      });
    }
    if (info.gated) await assertAccess(api, fetch, { repository, commit, files });
    return {
      commit,
      files,
      gated: Boolean(info.gated),
      private: info.private,
      pipelineTag: info.task ?? null,
      library: info.library_name ?? null,
      licence: licenceOf(info.tags),
    };
  } catch (error) {
    if (error instanceof EndpointsError) throw error;
    throw new EndpointsError(
      'HUB_UNREACHABLE',
      `${api.endpoint} does not answer like a Hub when asked for '${repository}': check HF_ENDPOINT`,
      { cause: error },
    );
  }
}

/** The Hub repeats the licence of a model's card among its tags. */
function licenceOf(tags: readonly string[] | undefined): string | null {
  const prefix = 'license:';
  return tags?.find((tag) => tag.startsWith(prefix))?.slice(prefix.length) ?? null;
}

/**
 * Anyone may read what a gated repository holds, but not the files; asking for one tells. The largest is asked for,
 * because the Hub gives a model card to everyone.
 */
async function assertAccess(
  api: ApiOptions,
  fetch: typeof globalThis.fetch,
  { repository, commit, files }: { repository: string; commit: string; files: WeightFile[] },
): Promise<void> {
  const [largest] = files.toSorted((a, b) => b.sizeBytes - a.sizeBytes);
  if (!largest) return;
  await fetch(fileUrl(api.endpoint, repository, commit, largest.path), {
    method: 'HEAD',
    redirect: 'manual',
  });
}
