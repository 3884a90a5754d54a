import type { HttpProbe } from '../spec/lifecycle.ts';
import type { Kind } from './tasks.ts';

/** One token; but the first request compiles kernels and pages weights in, which takes minutes for a large model. */
const INFERENCE_TIMEOUT_MS = 300_000;

/** Whether it is ready is asked where its health is told: at the owner's route, or else the engine's own. */
export function healthAt(route: string, timeoutMs: number) {
  const healthRoute = (settings: { healthRoute?: string | null | undefined }) =>
    settings.healthRoute ?? route;
  const readiness = (settings: Parameters<typeof healthRoute>[0]): HttpProbe => ({
    method: 'GET',
    path: healthRoute(settings),
    timeoutMs,
  });
  return { healthRoute, readiness };
}

/** A question to an engine that counts as its first real inference. */
export function infer(path: string, body: unknown): HttpProbe {
  return { method: 'POST', path, body, timeoutMs: INFERENCE_TIMEOUT_MS };
}

/** A smallest request in OpenAI's form, for what the model is good for; null where that needs sound or images. */
export function openAiInference(kind: Kind, model: string): HttpProbe | null {
  switch (kind) {
    case 'generate':
    case 'unknown':
      return infer('/v1/completions', { model, prompt: 'Hello', max_tokens: 1 });
    case 'embed':
      return infer('/v1/embeddings', { model, input: 'Hello' });
    case 'rank':
      return infer('/v1/rerank', { model, query: 'Hello', documents: ['Hello'] });
    case 'classify':
      return infer('/classify', { model, input: 'Hello' });
    case 'other':
      return null;
  }
}
