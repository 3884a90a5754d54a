import assert from 'node:assert/strict';
import { sizeOf } from '../../engines/choose/size.ts';
import { fitOn } from '../../engines/fit/fit.ts';
import { kvBytesPerToken } from '../../engines/fit/kv.ts';
import { GIB } from '../../engines/fit/memory.ts';
import { weightBytes } from '../../engines/fit/weights.ts';
import { facts, file } from './fixtures/facts.ts';
import { HARDWARE } from './fixtures/hardware.ts';
import { PUBLISHED, PUBLISHED_GGUF } from './fixtures/published.ts';

/** Share by which one number is off another. */
const off = (actual: number, expected: number) => Math.abs(actual - expected) / expected;

describe('fit: published models', () => {
  assert.ok(PUBLISHED.length >= 15);

  for (const { repository, parameters, bytes, fixture, cacheBytes } of PUBLISHED) {
    // As an inspection sees it: the configuration, and the headers' counts.
    const told = facts({
      config: fixture.config,
      weights: { format: 'safetensors', parameters, estimated: false },
    });
    const size = sizeOf(told, [file('model.safetensors', bytes)]);
    assert.ok(size?.shape);
    const { shape, weights } = size;

    it(`${repository}: weights within 1 % of ${(bytes / 1e9).toFixed(1)} GB, cache within 1 % of ${cacheBytes} bytes a token`, () => {
      assert.ok(off(weightBytes(weights), bytes) < 0.01, `${weightBytes(weights)} for ${bytes}`);
      assert.ok(
        off(kvBytesPerToken(shape), cacheBytes) < 0.01,
        `${kvBytesPerToken(shape)} for ${cacheBytes}`,
      );
    });

    it(`${repository}: what it needs for 4 k tokens is within 10 % of its files, its cache and 1.5 GiB`, () => {
      const instance = HARDWARE.h200x8;
      const context = Math.min(4096, shape.maxContext ?? 4096);
      const fit = fitOn({
        engine: 'sglang',
        model: { shape, weights },
        instance,
        context,
        tensorParallel: 1,
      });
      const windows = shape.sliding ? shape.sliding.layers * Math.max(0, context - shape.sliding.window) : 0;
      const layers = shape.fullLayers + (shape.sliding?.layers ?? 0);
      // An engine on GPUs loads single precision in half.
      const loaded = 'F32' in parameters && !('BF16' in parameters) ? bytes / 2 : bytes;
      const expected = loaded + cacheBytes * (context - windows / layers) + 1.5 * GIB;
      assert.ok(
        off(fit.need, expected) < 0.1,
        `${fit.need / GIB} GiB for ${expected / GIB} GiB: ${fit.message}`,
      );
    });
  }

  for (const [name, count, gguf, bytes] of PUBLISHED_GGUF)
    it(`${name}: ${gguf} within 10 % of the file`, () =>
      assert.ok(
        off(weightBytes({ count, gguf }), bytes) < 0.1,
        `${weightBytes({ count, gguf })} for ${bytes}`,
      ));

  it('Llama-3.1-8B in vLLM on 24 GB: what vLLM itself reports, 14.99 GiB of weights', () => {
    const found = PUBLISHED.find(({ repository }) => repository.includes('3.1-8B'));
    assert.ok(found && off(weightBytes({ parameters: found.parameters }, 2) / GIB, 14.9888) < 0.01);
  });
});
