import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import type Docker from 'dockerode';
import { eventually } from './eventually.ts';
import { freePort } from './ports.ts';
import { tarOf } from './registry.ts';

export const LOGIN = { username: 'u', password: 'pass-of-the-registry' };
/** bcrypt of {@link LOGIN}'s password, with the least cost. */
const HTPASSWD = `${LOGIN.username}:$2b$04$gC6zoz3YJf9JBi4cOdigHesGTjaYIwT2I6lN.1Rh/sFi9N99Ggyl2\n`;

/** The official registry as a process on loopback, from which Docker pulls and to which it pushes. */
export class Distribution {
  readonly host: string;
  readonly #dir: string;
  readonly #process: ChildProcess;

  private constructor(host: string, dir: string, child: ChildProcess) {
    this.host = host;
    this.#dir = dir;
    this.#process = child;
  }

  /** Needs `TEST_REGISTRY`. `login`: only {@link LOGIN} gets in. */
  static async start({ login = false } = {}): Promise<Distribution> {
    const port = await freePort();
    const dir = await mkdtemp(join(tmpdir(), 'distribution-'));
    const host = `127.0.0.1:${port}`;
    await writeFile(join(dir, 'htpasswd'), HTPASSWD);
    const config = {
      version: '0.1',
      log: { level: 'error' },
      storage: { filesystem: { rootdirectory: dir }, delete: { enabled: true } },
      http: { addr: host },
      ...(login ? { auth: { htpasswd: { realm: 'test', path: join(dir, 'htpasswd') } } } : {}),
    };
    const file = join(dir, 'config.yml');
    await writeFile(file, JSON.stringify(config));
    const child = spawn(process.env.TEST_REGISTRY ?? '', ['serve', file], { stdio: 'ignore' });
    const registry = new Distribution(host, dir, child);
    await eventually('registry answers', async () =>
      [200, 401].includes((await fetch(`http://${host}/v2/`)).status),
    );
    return registry;
  }

  /**
   * Makes an image of one random file, pushes it and forgets it locally, as if someone else had.
   * @returns its reference and digest
   */
  async publish(
    docker: Docker,
    tag: string,
    env: Record<string, string> = {},
  ): Promise<{ reference: string; digest: string }> {
    const name = `${this.host}/team/tiny`;
    const reference = `${name}:${tag}`;
    const archive = Readable.from([tarOf('file', randomBytes(200_000))]);
    const changes = Object.entries(env).map(([key, value]) => `ENV ${key}=${JSON.stringify(value)}`);
    const made = await docker.importImage(archive, { repo: name, tag, changes });
    await drained(docker, made);
    return { reference, digest: await this.push(docker, reference) };
  }

  /** Pushes an image Docker has, and removes that name of it. @returns the digest */
  async push(docker: Docker, reference: string): Promise<string> {
    const image = docker.getImage(reference);
    const pushed = await image.push({ authconfig: { ...LOGIN, serveraddress: this.host } });
    const lines = (await drained(docker, pushed)) as { aux?: { Digest?: string } }[];
    await image.remove({ force: true });
    const digest = lines.find((line) => line.aux?.Digest)?.aux?.Digest;
    if (!digest) throw new Error(`${reference} was not pushed: ${JSON.stringify(lines)}`);
    return digest;
  }

  /** Ends the process; what tests pulled from here leaves Docker too. */
  async stop(docker: Docker): Promise<void> {
    const ended = new Promise((resolve) => this.#process.once('exit', resolve));
    this.#process.kill('SIGKILL');
    await ended;
    const names = await docker.listImages({ all: true });
    const own = names.filter(({ RepoTags, RepoDigests }) =>
      [...(RepoTags ?? []), ...(RepoDigests ?? [])].some((name) => name.startsWith(this.host)),
    );
    for (const { Id } of own)
      await docker
        .getImage(Id)
        .remove({ force: true })
        .catch(() => undefined);
    await rm(this.#dir, { recursive: true, force: true });
  }
}

/** The lines of a stream of Docker's, read to its end. @throws Error for a line that says so */
function drained(docker: Docker, stream: NodeJS.ReadableStream): Promise<unknown[]> {
  return new Promise((resolve, reject) => {
    docker.modem.followProgress(stream, (error, lines) => (error ? reject(error) : resolve(lines)));
  });
}
