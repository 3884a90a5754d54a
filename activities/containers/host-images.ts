import type Docker from 'dockerode';
import type { GpuDriver } from '../../spec/driver.ts';
import { EndpointsError } from '../../spec/errors.ts';
import type { SealedSecrets } from '../../spec/lifecycle.ts';
import { type EngineInfo, engineInfo, freeForImages } from './disk.ts';
import { evictImages, type FreeBytes } from './evict-images.ts';
import type { ImageUse } from './image-use.ts';
import { askRegistry, type ImageFacts } from './manifest.ts';
import { registryOf } from './pull-errors.ts';
import { unmetRequirement } from './require-cuda.ts';

/**
 * Room an image takes while it is pulled, per compressed byte: the archive of each layer until it is unpacked, and about
 * one and a half times as much unpacked.
 */
const ROOM_PER_BYTE = 2.5;

/** Docker's names of processors, as registries call them. */
const ARCHITECTURES: Readonly<Record<string, string>> = { x86_64: 'amd64', aarch64: 'arm64' };

export interface HostImagesDeps {
  docker: Docker;
  use: ImageUse;
  /** The NVIDIA driver as it was seen last; null on a host without. */
  driver(): GpuDriver | null;
  /** What endpoints may start again. @throws when that cannot be asked: then nothing is removed */
  live(): Promise<readonly string[]>;
  /** Bytes to keep free on the engine's disk. */
  minFreeBytes: number;
  minIdleMs: number;
  /** Default: what the file system says. */
  free?: FreeBytes;
}

/** The images of one host: what is looked at before one is pulled, and which go when the disk runs full. */
export class HostImages {
  readonly #deps: HostImagesDeps;

  constructor(deps: HostImagesDeps) {
    this.#deps = deps;
  }

  /**
   * To be called before a pull. Looks at the image's own demand on the driver and makes room for it; what the registry does
   * not tell is not looked at.
   * @throws EndpointsError DRIVER_TOO_OLD, DISK_FULL
   */
  async prepare(
    image: string,
    { registry, gpus, signal }: { registry: SealedSecrets['registry']; gpus: number; signal?: AbortSignal },
  ): Promise<ImageFacts | null> {
    const info = await engineInfo(this.#deps.docker);
    const architecture = ARCHITECTURES[info.Architecture] ?? info.Architecture;
    const facts = await askRegistry(image, { registry, architecture, plain: isPlain(image, info), signal });
    if (!facts) return null;
    const driver = this.#deps.driver();
    const unmet = gpus > 0 && driver ? unmetRequirement(facts.env, driver) : null;
    if (unmet)
      throw new EndpointsError(
        'DRIVER_TOO_OLD',
        `image ${image} asks for '${unmet}' and the host has NVIDIA driver ${driver?.version} with CUDA ${driver?.cuda}: update the driver, or choose an image for an older CUDA`,
      );
    await this.#makeRoom(image, facts.bytes);
    return facts;
  }

  /** Notes that an image is wanted; `pulled`: by this agent, which may remove it again. */
  async note(image: string, pulled: boolean): Promise<void> {
    await this.#deps.use.note([image], { pulled });
  }

  /** Removes unused images while less than the wanted room is free. @returns the images that are gone */
  async relieve(): Promise<string[]> {
    const bytes = await this.#free();
    if (bytes === null || bytes >= this.#deps.minFreeBytes) return [];
    return await this.#evict(this.#deps.minFreeBytes);
  }

  async #makeRoom(image: string, compressedBytes: number): Promise<void> {
    const needed = compressedBytes * ROOM_PER_BYTE;
    let bytes = await this.#free();
    if (bytes === null || bytes >= needed) return;
    const gone = await this.#evict(needed).catch(() => []);
    bytes = await this.#free();
    if (bytes === null || bytes >= needed) return;
    const tried = gone.length > 0 ? `, after ${gone.length} unused images were removed` : '';
    throw new EndpointsError(
      'DISK_FULL',
      `image ${image} needs about ${gigabytes(needed)} to be pulled and unpacked, and Docker's disk on the host has ${gigabytes(bytes)} free${tried}: free space there, or use a host with a larger disk`,
    );
  }

  async #evict(wantedFreeBytes: number): Promise<string[]> {
    const { docker, use, live, minIdleMs } = this.#deps;
    const keep = new Set(await live());
    return await evictImages({ docker, use, keep, minIdleMs, wantedFreeBytes, free: () => this.#free() });
  }

  async #free(): Promise<number | null> {
    return this.#deps.free
      ? await this.#deps.free()
      : await freeForImages(await engineInfo(this.#deps.docker));
  }
}

/** Docker speaks plain HTTP to loopback, and to what it is told to. */
function isPlain(image: string, { RegistryConfig }: EngineInfo): boolean {
  const registry = registryOf(image);
  return (
    /^(localhost|127\.\d+\.\d+\.\d+)(:|$)/.test(registry) ||
    RegistryConfig?.IndexConfigs?.[registry]?.Secure === false
  );
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(1)} GB`;
}
