/** How far a pull is: layers present on the host, and bytes of what has to be fetched as far as Docker has said. */
export interface PullProgress {
  doneLayers: number;
  layers: number;
  doneBytes: number;
  totalBytes: number;
}

/** One line of the engine's stream, as far as it is read here. */
export interface PullEvent {
  id?: string;
  status?: string;
  error?: string;
  progressDetail?: { current?: number; total?: number };
}

/** What is known of a layer from each kind of line. The line that names the tag carries an id too, and is none of these. */
const LAYER_STATUS: ReadonlySet<string> = new Set([
  'Pulling fs layer',
  'Waiting',
  'Downloading',
  'Verifying Checksum',
  'Download complete',
  'Extracting',
  'Pull complete',
  'Already exists',
]);
const DONE: ReadonlySet<string> = new Set(['Pull complete', 'Already exists']);

interface Layer {
  done: boolean;
  doneBytes: number;
  totalBytes: number;
}

/** Sums the engine's lines about single layers. */
export class LayerCount {
  readonly #layers = new Map<string, Layer>();
  readonly #sizes: ReadonlyMap<string, number>;

  /** `sizes`: bytes by layer, where the registry has told; else a layer counts from when its download begins. */
  constructor(sizes: ReadonlyMap<string, number> = new Map()) {
    this.#sizes = sizes;
  }

  /** True when the line changed what `progress` says. */
  add({ id, status, progressDetail }: PullEvent): boolean {
    if (!id || !status || !LAYER_STATUS.has(status)) return false;
    const known = this.#layers.get(id);
    const layer = known ?? { done: false, doneBytes: 0, totalBytes: this.#sizes.get(id) ?? 0 };
    this.#layers.set(id, layer);
    const before = { ...layer };
    const { current, total } = progressDetail ?? {};
    // Unpacking counts anew from zero, so only the download is summed.
    if (status === 'Downloading' && current !== undefined && total !== undefined && total > 0)
      Object.assign(layer, { doneBytes: current, totalBytes: total });
    if (status === 'Download complete') layer.doneBytes = layer.totalBytes;
    if (status === 'Already exists') layer.totalBytes = 0;
    if (DONE.has(status)) Object.assign(layer, { done: true, doneBytes: layer.totalBytes });
    return !known || before.done !== layer.done || before.doneBytes !== layer.doneBytes;
  }

  get progress(): PullProgress {
    const total: PullProgress = { doneLayers: 0, layers: this.#layers.size, doneBytes: 0, totalBytes: 0 };
    for (const layer of this.#layers.values()) {
      total.doneLayers += Number(layer.done);
      total.doneBytes += layer.doneBytes;
      total.totalBytes += layer.totalBytes;
    }
    return total;
  }
}

/** What the text of a replica says during a pull. */
export function pullMessage({ doneLayers, layers, doneBytes, totalBytes }: PullProgress): string {
  const mb = (bytes: number) => Math.round(bytes / 1e6);
  return `pulling image: ${doneLayers} of ${layers} layers, ${mb(doneBytes)} of ${mb(totalBytes)} MB`;
}
