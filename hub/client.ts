import type { ModelFacts } from '../spec/model-facts.ts';
import type { ApiOptions } from './api.ts';
import { type DownloadRequest, downloadFiles } from './download/download.ts';
import { type InspectRequest, inspectModel } from './inspect/inspect.ts';
import { Recent } from './recent.ts';
import { type ResolvedModel, resolveModel } from './resolve.ts';

export type { DownloadRequest, Progress } from './download/download.ts';
export type { InspectRequest } from './inspect/inspect.ts';
export type { ResolvedModel } from './resolve.ts';

/** Of a few kilobytes each. */
const KEPT_INSPECTIONS = 256;

export interface HubOptions {
  /** Base address, such as `https://huggingface.co` (`HF_ENDPOINT`). */
  endpoint: string;
  /** Hub token (`HF_TOKEN`); sent to the origin of `endpoint` only, never to the host a redirect names. */
  token?: string | null;
  /** Used for metadata; files go through an HTTP client of their own. Default: the global one. */
  fetch?: typeof fetch;
  /** Of one metadata request. */
  timeoutMs?: number;
  /** Metadata attempts after the first. */
  retries?: number;
}

export interface Hub {
  /** See {@link resolveModel}. */
  resolveModel(input: { repository: string; revision: string | null }): Promise<ResolvedModel>;
  /** See {@link inspectModel}. What a commit holds cannot change, so the last few hundred answers are kept. */
  inspectModel(request: InspectRequest): Promise<ModelFacts>;
  /** See {@link downloadFiles}. */
  download(request: DownloadRequest): Promise<{ downloadedBytes: number }>;
}

/** A client of one Hub, or of a mirror of it, in the name of one token. */
export function createHub(options: HubOptions): Hub {
  const api: ApiOptions = {
    endpoint: options.endpoint.replace(/\/+$/, ''),
    token: options.token || null,
    fetch: options.fetch ?? fetch,
    timeoutMs: options.timeoutMs ?? 10_000,
    retries: options.retries ?? 2,
  };
  const inspected = new Recent<ModelFacts>(KEPT_INSPECTIONS);
  return {
    inspectModel: async (request) => {
      const { repository, resolved, weights } = request;
      const key = JSON.stringify([repository, resolved.commit, weights]);
      const facts = await inspected.get(key, () => inspectModel(api, request));
      // Who may read it can change without a commit.
      return { ...facts, gated: resolved.gated, private: resolved.private };
    },
    resolveModel: (input) => resolveModel(api, input),
    download: (request) => downloadFiles(api, request),
  };
}
