import Docker from 'dockerode';
import { EndpointsError, errorMessage } from '../../spec/errors.ts';

/** The Docker engine that `DOCKER_HOST` names, else the machine's own. */
export function openDocker(): Docker {
  return new Docker();
}

/** Codes of a socket that has nobody behind it, or lost them. */
const UNREACHABLE = new Set(['ECONNREFUSED', 'ENOENT', 'EACCES', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT']);

/** HTTP status of the engine's answer; undefined when it did not answer. */
export function statusOf(error: unknown): number | undefined {
  return field(error, 'statusCode', 'number');
}

/** What the engine wrote, without the client's own framing. */
export function engineSentence(error: unknown): string {
  return errorMessage(error)
    .replace(/^\(HTTP code \d+\) [^-]*- /, '')
    .trim();
}

/** Something that is not there (any more) is what a repeated step wanted. */
export function isAbsent(error: unknown): boolean {
  return statusOf(error) === 404;
}

/** For an error that has no better class: the engine is away, or refused `doing` with its own sentence. */
export function dockerError(error: unknown, doing: string): Error {
  if (error instanceof EndpointsError || (error instanceof Error && error.name === 'AbortError'))
    return error;
  const code = field(error, 'code', 'string');
  if (code !== undefined && UNREACHABLE.has(code)) {
    return new EndpointsError(
      'DOCKER_UNAVAILABLE',
      `cannot reach Docker for ${doing} (${errorMessage(error)}): check that the engine runs, DOCKER_HOST, and that this user may use its socket`,
    );
  }
  return new EndpointsError('INTERNAL', `Docker failed at ${doing}: ${engineSentence(error)}`);
}

/** The container of this name or id, or null. */
export async function inspectContainer(
  docker: Docker,
  name: string,
): Promise<Docker.ContainerInspectInfo | null> {
  try {
    return await docker.getContainer(name).inspect();
  } catch (error) {
    if (isAbsent(error)) return null;
    throw dockerError(error, `looking at container ${name}`);
  }
}

/** Removes a container and its anonymous volumes, running or not; one that is gone or going is as good. */
export async function removeContainer(docker: Docker, id: string): Promise<void> {
  try {
    await docker.getContainer(id).remove({ force: true, v: true });
  } catch (error) {
    // 409: another call is removing it.
    if (!isAbsent(error) && statusOf(error) !== 409) throw dockerError(error, `removing container ${id}`);
  }
}

/**
 * The engine's streams of JSON texts, one a line. Ends with the stream; throws when the connection breaks, which
 * `node:readline` would not notice.
 */
export async function* jsonLines(stream: NodeJS.ReadableStream): AsyncGenerator<unknown> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of stream) {
    const lines = (
      rest + (typeof chunk === 'string' ? chunk : decoder.decode(chunk, { stream: true }))
    ).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) if (line.trim()) yield JSON.parse(line);
  }
  if (rest.trim()) yield JSON.parse(rest);
}

function field(value: unknown, name: string, type: 'string'): string | undefined;
function field(value: unknown, name: string, type: 'number'): number | undefined;
function field(value: unknown, name: string, type: string): unknown {
  if (typeof value !== 'object' || value === null) return undefined;
  const found = (value as Record<string, unknown>)[name];
  return typeof found === type ? found : undefined;
}
