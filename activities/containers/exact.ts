import type Docker from 'dockerode';
import { EndpointsError } from '../../spec/errors.ts';
import { dockerError } from './docker.ts';

/**
 * The reference by which this very image is run and fetched again, whatever its tag means by then: `name@sha256:…` for
 * one of a registry, else its id on this host, for one that was built or loaded here. Null when the engine lacks it.
 * @throws EndpointsError DOCKER_UNAVAILABLE
 */
export async function exactImage(docker: Docker, reference: string): Promise<string | null> {
  try {
    const { Id, RepoDigests } = await docker.getImage(reference).inspect();
    if (isLocalId(reference)) return reference;
    const name = familiarName(reference);
    return RepoDigests?.find((digest) => digest.split('@')[0] === name) ?? Id;
  } catch (error) {
    const away = dockerError(error, `looking for image ${reference}`);
    if (away instanceof EndpointsError && away.code === 'DOCKER_UNAVAILABLE') throw away;
    // Absent, or a reference the engine cannot even parse: the pull says that better.
    return null;
  }
}

/** An image without a registry's digest is known by its id alone, and only where it is. */
export function isLocalId(reference: string): boolean {
  return reference.startsWith('sha256:');
}

/** A reference's name as Docker lists it: without tag, digest, and what stands for Docker Hub. */
export function familiarName(reference: string): string {
  const [named = ''] = reference.split('@');
  return withoutTag(named)
    .replace(/^(index\.)?docker\.io\//, '')
    .replace(/^library\//, '');
}

/** With a digest the tag says nothing, and the engine's API takes only one of them. */
export function pullable(reference: string): string {
  const [named = '', digest] = reference.split('@');
  return digest === undefined ? named : `${withoutTag(named)}@${digest}`;
}

function withoutTag(named: string): string {
  return named.replace(/:[^:/]+$/, '');
}
