/** Headers of weight files with nothing behind them: what an inspection reads of a model of any size. */

/** A safetensors file that declares these tensors, as `name → [dtype, ...shape]`. */
export function safetensors(tensors: Record<string, [dtype: string, ...shape: number[]]>): Buffer {
  const entries = Object.entries(tensors).map(([name, [dtype, ...shape]]) => [
    name,
    { dtype, shape, data_offsets: [0, 0] },
  ]);
  return withLength(JSON.stringify({ __metadata__: { format: 'pt' }, ...Object.fromEntries(entries) }));
}

/** Any text as the header of a safetensors file. */
export function withLength(header: string): Buffer {
  const text = Buffer.from(header);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text]);
}

type GgufValue = string | number | bigint | boolean | readonly GgufValue[];

/** A GGUF file of version 3 without tensors. Numbers are written as 32-bit integers, bigints as 64-bit ones. */
export function gguf(metadata: Record<string, GgufValue>, version = 3): Buffer {
  const head = Buffer.alloc(24);
  head.write('GGUF');
  head.writeUInt32LE(version, 4);
  head.writeBigUInt64LE(BigInt(Object.keys(metadata).length), 16);
  const keys = Object.entries(metadata).flatMap(([name, value]) => [
    text(name),
    u32(typeOf(value)),
    bytesOf(value),
  ]);
  return Buffer.concat([head, ...keys]);
}

function typeOf(value: GgufValue): number {
  if (Array.isArray(value)) return 9;
  if (typeof value === 'string') return 8;
  if (typeof value === 'boolean') return 7;
  return typeof value === 'bigint' ? 10 : 4;
}

function bytesOf(value: GgufValue): Buffer {
  if (typeof value === 'string') return text(value);
  if (typeof value === 'boolean') return Buffer.from([value ? 1 : 0]);
  if (typeof value === 'bigint') return u64(value);
  if (typeof value === 'number') return u32(value);
  return Buffer.concat([u32(typeOf(value[0] ?? 0)), u64(BigInt(value.length)), ...value.map(bytesOf)]);
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([u64(BigInt(bytes.length)), bytes]);
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function u64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes;
}
