import { statfs } from 'node:fs/promises';
import type Docker from 'dockerode';

/** The part of `GET /info` that is used here. */
export interface EngineInfo {
  DockerRootDir: string;
  Architecture: string;
  RegistryConfig?: { IndexConfigs?: Record<string, { Secure?: boolean } | null> };
}

export async function engineInfo(docker: Docker): Promise<EngineInfo> {
  return (await docker.info()) as EngineInfo;
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
