import type { Instance } from '../spec/hardware.ts';

/** What a kind of GPU can do; from the vendor's data sheets and NVIDIA's list of compute capabilities. */
export interface GpuFacts {
  name: string;
  /** Compute capability times ten, such as 89 for 8.9, so that it compares exactly. */
  capability: number;
  /** Memory a program sees on one GPU, in GiB: less than the nominal size by ECC and the driver. */
  usableGib: number;
}

const GPUS: readonly (GpuFacts & { pattern: string })[] = [
  { pattern: 'p4', name: 'P4', capability: 61, usableGib: 7.4 },
  { pattern: 'p100', name: 'P100', capability: 60, usableGib: 15.9 },
  { pattern: 'v100', name: 'V100', capability: 70, usableGib: 15.8 },
  { pattern: 't4', name: 'T4', capability: 75, usableGib: 14.6 },
  { pattern: 'l4', name: 'L4', capability: 89, usableGib: 22.5 },
  { pattern: 'l40s', name: 'L40S', capability: 89, usableGib: 44.4 },
  { pattern: 'a10g?', name: 'A10', capability: 86, usableGib: 22.1 },
  { pattern: 'a100', name: 'A100', capability: 80, usableGib: 79.1 },
  { pattern: 'h100', name: 'H100', capability: 90, usableGib: 79.1 },
  { pattern: 'h200', name: 'H200', capability: 90, usableGib: 139 },
  { pattern: 'b200', name: 'B200', capability: 100, usableGib: 178 },
  { pattern: 'gb200', name: 'GB200', capability: 100, usableGib: 178 },
  { pattern: 'rtx-pro-6000', name: 'RTX PRO 6000', capability: 120, usableGib: 94 },
];

/** The facts of an instance's GPUs, by the name in its type (`nvidia-l4`); null when it names none we know. */
export function gpuFacts(instance: Pick<Instance, 'type' | 'gpus'>): GpuFacts | null {
  if (instance.gpus === 0) return null;
  const found = GPUS.find(({ pattern }) => new RegExp(`(^|-)${pattern}(-|$)`, 'i').test(instance.type));
  return found ?? null;
}

/** 8.9 from 89. */
export function capabilityText(capability: number): string {
  return `${Math.floor(capability / 10)}.${capability % 10}`;
}
