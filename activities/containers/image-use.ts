import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** When an image that this agent pulled was last wanted, by its exact reference. Times in ms since the epoch. */
export type ImageUses = Record<string, number>;

/**
 * Which images this agent has pulled, in `<agent dir>/images.json`. Only these may it remove again: others on the same
 * engine belong to somebody.
 */
export class ImageUse {
  readonly #dir: string;
  /** Reads and writes follow each other, so that two pulls that end at once are both noted. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(agentDir: string) {
    this.#dir = agentDir;
  }

  all(): Promise<ImageUses> {
    return this.#alone(() => this.#read());
  }

  /** Notes a use; `pulled` makes an image this agent's own, without it one that is not stays so. */
  note(images: readonly string[], { pulled = false, now = Date.now() } = {}): Promise<void> {
    return this.#alone(async () => {
      const uses = await this.#read();
      const own = images.filter((image) => pulled || Object.hasOwn(uses, image));
      if (own.length > 0)
        await this.#write({ ...uses, ...Object.fromEntries(own.map((image) => [image, now])) });
    });
  }

  forget(image: string): Promise<void> {
    return this.#alone(async () => {
      const { [image]: _, ...rest } = await this.#read();
      await this.#write(rest);
    });
  }

  #alone<T>(step: () => Promise<T>): Promise<T> {
    const next = this.#last.then(step);
    this.#last = next.catch(() => undefined);
    return next;
  }

  async #read(): Promise<ImageUses> {
    try {
      return JSON.parse(await readFile(this.#file, 'utf8')) as ImageUses;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {};
      throw error;
    }
  }

  /** Replaced as a whole, so that a kill leaves the old or the new one. */
  async #write(uses: ImageUses): Promise<void> {
    await mkdir(this.#dir, { recursive: true });
    await writeFile(`${this.#file}.tmp`, JSON.stringify(uses), { mode: 0o600 });
    await rename(`${this.#file}.tmp`, this.#file);
  }

  get #file(): string {
    return join(this.#dir, 'images.json');
  }
}
