import { EndpointsError } from '../../spec/errors.ts';
import { computeId, type Instance, missingProvider, type Vendor } from '../../spec/hardware.ts';
import type { FreeRoom } from '../../store/hosts.ts';
import type { Compute, Vendors } from './schemas.ts';

const GIB = 1024 ** 3;

/** What a namespace uses, and what is left on the hosts; together they make its quota. */
export interface Usage {
  /** Replicas by `vendor/region/type/size`. */
  used: ReadonlyMap<string, number>;
  room: readonly FreeRoom[];
}

/** @throws EndpointsError VALIDATION_FAILED when the vendor's hardware is listed and nothing brings it here */
export function assertProvider(catalogue: readonly Vendor[], vendorName: string): void {
  const vendor = catalogue.find(({ name }) => name === vendorName);
  const missing = vendor && missingProvider(vendor);
  if (missing) throw new EndpointsError('VALIDATION_FAILED', `provider.vendor: ${missing}`);
}

/**
 * The hardware catalogue as the public API shows it; without `usage` it is the price list, which has no quota. Hardware
 * that no provider brings here is shown as not available.
 */
export function presentHardware(catalogue: readonly Vendor[], usage: Usage | null): Vendors {
  return { vendors: catalogue.map((vendor) => presentVendor(vendor, usage)) };
}

function presentVendor(vendor: Vendor, usage: Usage | null): Vendors['vendors'][number] {
  const missing = missingProvider(vendor) !== null;
  const status = missing ? 'notAvailable' : 'available';
  return {
    name: vendor.name,
    status,
    regions: vendor.regions.map((region) => ({
      name: region.name,
      label: region.label,
      status,
      computes: region.instances.map((instance) => ({
        ...presentInstance(vendor.name, region.name, instance, usage),
        ...(missing ? { status: 'not_available' } : {}),
      })),
    })),
  };
}

function presentInstance(vendor: string, region: string, instance: Instance, usage: Usage | null): Compute {
  const perReplica = Math.max(1, instance.gpus);
  return {
    id: computeId(vendor, region, instance),
    accelerator: instance.accelerator,
    instanceType: instance.type,
    instanceSize: instance.size,
    architecture: instance.architecture,
    numAccelerators: perReplica,
    ...(Number.isInteger(instance.cpus) ? { numCpus: instance.cpus } : {}),
    memoryGb: instance.memoryGb,
    gpuMemoryGb: instance.gpuMemoryGb ?? null,
    pricePerHour: instance.pricePerHour,
    status: instance.status,
    ...(usage ? { quota: quotaOf(vendor, region, instance, perReplica, usage) } : {}),
  };
}

function quotaOf(vendor: string, region: string, instance: Instance, perReplica: number, usage: Usage) {
  const used = usage.used.get(`${vendor}/${region}/${instance.type}/${instance.size}`) ?? 0;
  const free = usage.room
    .filter((host) => host.vendor === vendor && host.region === region)
    .reduce((sum, host) => sum + replicasThatFit(host, instance), 0);
  return { maxAccelerators: (used + free) * perReplica, usedAccelerators: used * perReplica };
}

/** How many replicas of this instance a host has room for now. */
export function replicasThatFit(host: FreeRoom, instance: Instance): number {
  const byGpu = instance.gpus > 0 ? host.gpus / instance.gpus : Number.POSITIVE_INFINITY;
  const least = Math.min(host.cpus / instance.cpus, host.memoryBytes / (instance.memoryGb * GIB), byGpu);
  return Math.max(0, Math.floor(least));
}
