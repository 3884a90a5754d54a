/**
 * The key-value part of a GGUF file's header (versions 2 and 3, little-endian), read from its first bytes.
 * Layout: magic, version, count of tensors, count of keys; then per key its name, a type, and the value.
 */

const MAGIC = 0x46554747;
/** Byte length of the fixed-size types by their number; 8 is text and 9 a list. */
const SIZES: readonly (number | undefined)[] = [1, 1, 2, 2, 4, 4, 4, 1, undefined, undefined, 8, 8, 8];
const TEXT = 8;
const LIST = 9;
/** Longer lists (the vocabulary) are passed over; only their length is kept. */
const MAX_KEPT_ITEMS = 1024;
const MAX_KEPT_TEXT = 256;
const MAX_KEYS = 100_000;
const MAX_LENGTH = 100_000_000;

export interface GgufHeader {
  /** By key. Texts are cut; of a long list there is `<key>.length` alone. */
  metadata: Record<string, unknown>;
  /** False when the bytes end before the last key. */
  complete: boolean;
}

/** What is wrong with the header, as the end of a sentence that begins with the file's name. */
export class GgufError extends Error {
  override readonly name = 'GgufError';
}

/** The bytes end here; more of the file may help. */
class EndOfBytes extends Error {}

/** @throws GgufError when this is no GGUF header */
export function parseGguf(bytes: Buffer): GgufHeader {
  if (bytes.length < 4 || bytes.readUInt32LE(0) !== MAGIC)
    throw new GgufError('is no GGUF file: it does not begin with GGUF; choose another file or revision');
  const metadata: Record<string, unknown> = {};
  const at = new Cursor(bytes, 4);
  try {
    const version = at.fixed(4);
    if (version !== 2 && version !== 3)
      throw new GgufError(`is of GGUF version ${version}, and versions 2 and 3 are read here`);
    at.fixed(10);
    const keys = Number(at.fixed(10));
    if (keys > MAX_KEYS) throw new GgufError(`has a damaged header: it claims ${keys} keys`);
    for (let i = 0; i < keys; i++) {
      const name = at.text(MAX_KEPT_TEXT);
      keep(metadata, name, at);
    }
    return { metadata, complete: true };
  } catch (error) {
    if (error instanceof EndOfBytes) return { metadata, complete: false };
    throw error;
  }
}

function keep(metadata: Record<string, unknown>, name: string, at: Cursor): void {
  const type = Number(at.fixed(4));
  if (type !== LIST) {
    metadata[name] = at.value(type);
    return;
  }
  const itemType = Number(at.fixed(4));
  const length = at.length();
  // Before the items: the length tells the size of the vocabulary, also when the rest is not read.
  metadata[`${name}.length`] = length;
  const items: unknown[] = [];
  for (let i = 0; i < length; i++) {
    const item = at.value(itemType);
    if (length <= MAX_KEPT_ITEMS) items.push(item);
  }
  if (length <= MAX_KEPT_ITEMS) metadata[name] = items;
}

class Cursor {
  private readonly bytes: Buffer;
  private offset: number;

  constructor(bytes: Buffer, offset: number) {
    this.bytes = bytes;
    this.offset = offset;
  }

  value(type: number): unknown {
    if (type === TEXT) return this.text(MAX_KEPT_TEXT);
    return this.fixed(type);
  }

  /** A number, boolean, or a bigint where a number cannot hold it exactly. */
  fixed(type: number): number | boolean | bigint {
    const size = SIZES[type];
    if (size === undefined) throw new GgufError(`has a damaged header: it holds a value of type ${type}`);
    const from = this.take(size);
    const { bytes } = this;
    switch (type) {
      case 0:
        return bytes.readUInt8(from);
      case 1:
        return bytes.readInt8(from);
      case 2:
        return bytes.readUInt16LE(from);
      case 3:
        return bytes.readInt16LE(from);
      case 4:
        return bytes.readUInt32LE(from);
      case 5:
        return bytes.readInt32LE(from);
      case 6:
        return bytes.readFloatLE(from);
      case 7:
        return bytes.readUInt8(from) !== 0;
      case 10:
        return narrow(bytes.readBigUInt64LE(from));
      case 11:
        return narrow(bytes.readBigInt64LE(from));
      default:
        return bytes.readDoubleLE(from);
    }
  }

  text(keep: number): string {
    const length = this.length();
    const from = this.take(length);
    return this.bytes.toString('utf8', from, from + Math.min(length, keep));
  }

  length(): number {
    const length = this.fixed(10);
    if (typeof length !== 'number' || length > MAX_LENGTH)
      throw new GgufError(`has a damaged header: it claims a text or list of length ${length}`);
    return length;
  }

  private take(size: number): number {
    const from = this.offset;
    if (from + size > this.bytes.length) throw new EndOfBytes();
    this.offset += size;
    return from;
  }
}

function narrow(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}
