/** Bytes of one stored number, by the dtype names of safetensors. */
const DTYPE_BYTES: Readonly<Record<string, number>> = {
  F64: 8,
  I64: 8,
  U64: 8,
  F32: 4,
  I32: 4,
  U32: 4,
  F16: 2,
  BF16: 2,
  I16: 2,
  U16: 2,
  F8_E4M3: 1,
  F8_E5M2: 1,
  F8_E8M0: 1,
  I8: 1,
  U8: 1,
  BOOL: 1,
  F4: 0.5,
};
const FLOATS: ReadonlySet<string> = new Set(['F64', 'F32', 'F16', 'BF16']);

/** Bytes per parameter of a whole quantised model, scales included. */
export const FORMAT_BYTES = {
  fp32: 4,
  fp16: 2,
  bf16: 2,
  fp8: 1,
  int8: 1,
  awq: 0.5625,
  gptq: 0.5625,
  nf4: 0.5625,
  mxfp4: 0.53125,
  nvfp4: 0.5625,
} as const;
export type WeightFormat = keyof typeof FORMAT_BYTES;

/** Bits per parameter of GGUF's block formats; of a mixed file (`_M`) the average of common models. */
export const GGUF_BITS: Readonly<Record<string, number>> = {
  F32: 32,
  F16: 16,
  BF16: 16,
  Q8_0: 8.5,
  Q6_K: 6.5625,
  Q5_K: 5.5,
  Q4_K: 4.5,
  Q4_0: 4.5,
  Q4_1: 5,
  IQ4_XS: 4.25,
  Q3_K: 3.4375,
  Q2_K: 2.625,
  MXFP4: 4.25,
  NVFP4: 4.5,
  TQ1_0: 1.6875,
  Q4_K_M: 4.85,
};

/**
 * What is known of a model's weights. File sizes are the best knowledge: packed formats store several parameters in one
 * number, which counts per dtype cannot see.
 */
export type ModelWeights =
  | { fileBytes: number }
  /** Parameters per stored dtype, as the Hub reports of safetensors. */
  | { parameters: Readonly<Record<string, number>> }
  | { count: number; format: WeightFormat }
  | { count: number; gguf: string };

/**
 * Bytes the weights take in memory.
 * @param floatBytes what the engine makes of unquantised numbers when it loads them (2: half precision, 4: single); null
 * keeps them as stored
 */
export function weightBytes(weights: ModelWeights, floatBytes: 2 | 4 | null = null): number {
  if ('fileBytes' in weights) return weights.fileBytes;
  if ('format' in weights) return weights.count * FORMAT_BYTES[weights.format];
  if ('gguf' in weights) return (weights.count * (GGUF_BITS[weights.gguf] ?? 16)) / 8;
  const entries = Object.entries(weights.parameters);
  const quantised = entries.some(([dtype]) => !FLOATS.has(dtype) && !['I64', 'BOOL'].includes(dtype));
  return entries
    .map(([dtype, count]) => {
      const stored = DTYPE_BYTES[dtype] ?? 2;
      return count * (floatBytes !== null && !quantised && FLOATS.has(dtype) ? floatBytes : stored);
    })
    .reduce((sum, bytes) => sum + bytes, 0);
}

/** Whether the stored numbers need a GPU that computes in 8-bit floats. */
export function hasFp8(weights: ModelWeights): boolean {
  if ('format' in weights) return weights.format === 'fp8';
  return 'parameters' in weights && Object.keys(weights.parameters).some((dtype) => dtype.startsWith('F8_'));
}
