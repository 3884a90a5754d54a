import type { DriverNeed } from '../spec/driver.ts';
import { tagOf } from './versions.ts';

/**
 * From NVIDIA's table of CUDA compatibility: every CUDA 12 program runs from driver branch 525 on, whatever its minor
 * version, and every CUDA 13 program from 580 on.
 */
const CUDA_12: DriverNeed = { branch: 525, because: 'it is built with CUDA 12' };
const CUDA_13: DriverNeed = { branch: 580, because: 'it is built with CUDA 13' };
/** TGI's page asks for a driver of CUDA 12.2. */
const CUDA_12_2: DriverNeed = { branch: 535, because: 'it is built with CUDA 12.2' };
/** With it, vLLM's images bring the libraries that an older driver lacks. */
const COMPATIBLE: DriverNeed = { branch: 535, because: 'CUDA 13 in compatibility mode' };

/** By what the tag says of CUDA: `v0.20.1-cu130`, `server-cuda13`; null when it says nothing. */
function byTag(url: string): DriverNeed | null {
  const major = /(^|[-_.])(cu|cuda)-?(?<major>1[1-9])(\d|[-_.]|$)/i.exec(tagOf(url) ?? '')?.groups?.major;
  if (major === undefined) return null;
  return Number(major) >= 13 ? CUDA_13 : CUDA_12;
}

/** Builds for both majors exist, and without a word in the tag the smaller need counts. */
export function vllmDriver(url: string, env: Readonly<Record<string, string>>): DriverNeed {
  const need = byTag(url) ?? CUDA_12;
  return need === CUDA_13 && env.VLLM_ENABLE_CUDA_COMPATIBILITY === '1' ? COMPATIBLE : need;
}

/** After 0.5.19 the images are built with CUDA 13 only. */
export function sglangDriver(url: string): DriverNeed {
  const said = byTag(url);
  if (said) return said;
  const tag = tagOf(url) ?? '';
  if (/^(latest|nightly|dev)(-|$)/.test(tag)) return CUDA_13;
  const found = /^v?(\d+)\.(\d+)\.(\d+)(\D|$)/.exec(tag);
  if (!found) return CUDA_12;
  const [major = 0, minor = 0, patch = 0] = found.slice(1, 4).map(Number);
  return major > 0 || minor > 5 || (minor === 5 && patch > 19) ? CUDA_13 : CUDA_12;
}

export function tgiDriver(): DriverNeed {
  return CUDA_12_2;
}

/** `server-cuda` and `server-cuda13`; the builds for other hardware ask nothing of it. */
export function llamacppDriver(url: string): DriverNeed | null {
  return byTag(url) ?? (/(^|-)cuda(-|$)/.test(tagOf(url) ?? '') ? CUDA_12 : null);
}
