import assert from 'node:assert/strict';
import { inferenceFailed } from '../../activities/health/diagnosis.ts';
import type { ProbeOutcome } from '../../activities/health/probe.ts';
import type { ReplicaPlan } from '../../spec/lifecycle.ts';

const plan = {
  readiness: { engine: 'vllm', health: null, inference: null, deadlineMs: 1000 },
} as unknown as ReplicaPlan;
const DEAD: ProbeOutcome = { kind: 'status', status: 500, said: 'EngineCore encountered an issue.' };

describe('an engine that is healthy and cannot infer', () => {
  const failed = (outcome: ProbeOutcome, log: string) =>
    inferenceFailed(plan, '/v1/completions', outcome, log);

  it('is described by the first complaint in its log, where its answer says nothing', () => {
    const { code, message } = failed(
      DEAD,
      'INFO all well\nRuntimeError: Invalid CPU attention head_dim: 16\nEngineDeadError: EngineCore encountered an issue.',
    );
    assert.equal(code, 'INFERENCE_FAILED');
    assert.match(
      message,
      /answered 500: "EngineCore .*"\. Its log says: RuntimeError: Invalid CPU attention head_dim: 16$/,
    );
  });

  it('has the code of a cause that is known', () => {
    const { code, message } = failed(
      DEAD,
      'torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB',
    );
    assert.equal(code, 'GPU_OOM');
    assert.match(
      message,
      /first inference \(\/v1\/completions\) answered 500.*Take a larger instance.*CUDA out of memory/,
    );
  });

  it('that closed the connection is described by its log too', () => {
    assert.match(
      failed({ kind: 'refused' }, 'ValueError: bad kernel').message,
      /closed the connection\. Its log says: ValueError: bad kernel$/,
    );
  });

  it('that refuses the question is described by its answer alone: its log is about something else', () => {
    const refused: ProbeOutcome = { kind: 'status', status: 404, said: 'no such model' };
    const { code, message } = failed(refused, 'ValueError: an old complaint');
    assert.equal(code, 'INFERENCE_FAILED');
    assert.match(message, /answered 404: "no such model"$/);
  });

  it('without a complaint is described by what it did', () => {
    assert.match(
      failed({ kind: 'timeout', timeoutMs: 5000 }, 'INFO all well').message,
      /gave no answer within 5 s$/,
    );
  });
});
