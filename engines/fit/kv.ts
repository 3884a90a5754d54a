import type { ModelShape } from './shape.ts';

/** Bytes of one cached number. Quantised ones carry a scale per block of 32. */
export const KV_BYTES: Readonly<Record<string, number>> = {
  auto: 2,
  f16: 2,
  fp8: 1,
  fp8_e5m2: 1,
  fp8_e4m3: 1,
  q8_0: 8.5 / 8,
  q4_0: 4.5 / 8,
};

/**
 * Bytes one layer caches per token on each of `split` GPUs. Heads are divided among them and repeated when there are
 * fewer heads than GPUs; a latent is whole on every one.
 */
function layerBytes(shape: ModelShape, bytes: number, split: number): number {
  if (shape.latentSize !== null) return shape.latentSize * bytes;
  return 2 * Math.max(1, Math.ceil(shape.kvHeads / split)) * shape.headDim * bytes;
}

/** Bytes of cache per token of context, while no window is full. */
export function kvBytesPerToken(shape: ModelShape, bytes = 2, split = 1): number {
  return layerBytes(shape, bytes, split) * (shape.fullLayers + (shape.sliding?.layers ?? 0));
}

/** Bytes of cache on each of `split` GPUs for one sequence of `tokens`. */
export function kvBytes(shape: ModelShape, tokens: number, bytes = 2, split = 1): number {
  const { sliding } = shape;
  const inWindow = sliding ? sliding.layers * Math.min(tokens, sliding.window) : 0;
  return layerBytes(shape, bytes, split) * (shape.fullLayers * tokens + inWindow);
}

/** The longest sequence whose cache is within `room` bytes on each of `split` GPUs; Infinity when it never grows. */
export function tokensWithin(shape: ModelShape, room: number, bytes = 2, split = 1): number {
  if (room <= 0) return 0;
  const layer = layerBytes(shape, bytes, split);
  const { sliding, fullLayers } = shape;
  const perToken = layer * (fullLayers + (sliding?.layers ?? 0));
  if (!sliding || room < perToken * sliding.window) return perToken ? Math.floor(room / perToken) : Infinity;
  // The windows are full and cost no more.
  const full = layer * sliding.layers * sliding.window;
  return fullLayers ? Math.floor((room - full) / (layer * fullLayers)) : Infinity;
}
