import { statfs } from 'node:fs/promises';
import type Docker from 'dockerode';
import { dockerError } from './docker.ts';

/** The part of `GET /info` that is used here. */
export interface EngineInfo {
  DockerRootDir: string;
  Architecture: string;
  RegistryConfig?: { IndexConfigs?: Record<string, { Secure?: boolean } | null> };
}

/** @throws EndpointsError DOCKER_UNAVAILABLE */
export async function engineInfo(docker: Docker): Promise<EngineInfo> {
  try {
    return (await docker.info()) as EngineInfo;
  } catch (error) {
    throw dockerError(error, 'a look at its disk');
  }
}

/** Bytes free where the engine keeps its images; null when that is on no disk of this machine (a remote engine). */
export async function freeForImages({
  DockerRootDir,
}: Pick<EngineInfo, 'DockerRootDir'>): Promise<number | null> {
  try {
    const { bavail, bsize } = await statfs(DockerRootDir);
    return bavail * bsize;
  } catch {
    return null;
  }
}
