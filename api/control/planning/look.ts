import type { FastifyBaseLogger } from 'fastify';
import { headersToRead } from '../../../engines/choose/headers.ts';
import type { ModelRequest } from '../../../engines/engine.ts';
import type { ResolvedModel } from '../../../hub/client.ts';
import { EndpointsError, errorMessage } from '../../../spec/errors.ts';
import type { ImageRequest } from '../../../spec/images.ts';
import type { ModelFacts } from '../../../spec/model-facts.ts';
import type { ModelSource } from '../context.ts';

/** A client may give up after 10 s (the Go client does), and the write itself needs time too. */
const HUB_DEADLINE_MS = 5000;

/** What the Hub says of a model, or why it says nothing now. */
export type Look =
  | { found: true; resolved: ResolvedModel; facts: ModelFacts; warning: string | null }
  | { found: false; warning: string };

/**
 * Asks the Hub for the commit, the files, and what the model is. Without an answer in time nothing is known; when only the
 * headers do not come, the model's size is not.
 * @throws EndpointsError HUB_NOT_FOUND, HUB_GATED, HUB_AUTH, HUB_REVISION, NO_USABLE_FILE, naming the field
 */
export async function lookAtModel(
  hub: ModelSource,
  want: {
    repository: string;
    revision: string | null;
    image: ImageRequest | null;
    model: Pick<ModelRequest, 'args' | 'env'>;
  },
  log: FastifyBaseLogger,
  deadlineMs = HUB_DEADLINE_MS,
): Promise<Look> {
  const { repository, revision } = want;
  const until = performance.now() + deadlineMs;
  const inTime = <T>(asked: Promise<T>) =>
    Promise.race([asked, passed(until - performance.now(), deadlineMs)]);
  let resolved: ResolvedModel;
  try {
    resolved = await inTime(hub.resolveModel({ repository, revision }));
  } catch (error) {
    const reason = reasonOf(error);
    log.warn({ repository, reason }, 'the Hub did not answer; the workflow will ask');
    return { found: false, warning: `the Hub was not asked about '${repository}' (${reason})` };
  }
  const weights = headersToRead(resolved.files, want.image, want.model);
  try {
    const facts = await inTime(hub.inspectModel({ repository, resolved, weights }));
    return { found: true, resolved, facts, warning: null };
  } catch (error) {
    const reason = reasonOf(error);
    log.warn({ repository, reason }, 'the model could not be inspected');
    return {
      found: true,
      resolved,
      facts: withoutHeaders(repository, resolved),
      warning: `the size of '${repository}' is not known, so that nobody checked whether it fits (${reason})`,
    };
  }
}

/** Of a failure that may pass; one that will not is thrown, with the field it is about. */
function reasonOf(error: unknown): string {
  if (error instanceof EndpointsError && !error.retryable) {
    const field = error.code === 'HUB_REVISION' ? 'model.revision' : 'model.repository';
    throw new EndpointsError(error.code, `${field}: ${error.message}`, { cause: error });
  }
  return errorMessage(error);
}

function withoutHeaders(repository: string, resolved: ResolvedModel): ModelFacts {
  const { commit, pipelineTag, library, licence, gated } = resolved;
  return {
    ...{ repository, commit, pipelineTag, library, licence, gated, private: resolved.private },
    config: null,
    tokenizer: { kind: null, chatTemplate: null },
    weights: null,
  };
}

function passed(ms: number, deadlineMs: number): Promise<never> {
  return new Promise((_, reject) => {
    setTimeout(() => reject(new Error(`no answer within ${deadlineMs} ms`)), Math.max(0, ms)).unref();
  });
}
