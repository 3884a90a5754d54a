import { findInstance, type Instance, missingProvider, type Vendor } from '../../spec/hardware.ts';

/** A row of the catalogue, with where it is and whether it can be had. */
export interface Offer {
  vendor: string;
  region: string;
  instance: Instance;
  /** Why no replica can be started on it here; null when one can. */
  missing: string | null;
}

/** What a request says of its hardware; what it leaves out is free. */
export interface HardwareRequest {
  vendor?: string | undefined;
  region?: string | undefined;
  accelerator?: string | undefined;
  instanceType?: string | undefined;
  instanceSize?: string | undefined;
}

/** What the largest host of a region could give one replica. */
export interface Capacity {
  vendor: string;
  region: string;
  cpus: number;
  memoryBytes: number;
  gpus: number;
}

const GIB = 1024 ** 3;

/** The whole catalogue, cheapest first; `capacities` of hosts that are there now. */
export function offersOf(vendors: readonly Vendor[], capacities: readonly Capacity[]): Offer[] {
  return vendors
    .flatMap((vendor) =>
      vendor.regions.flatMap((region) =>
        region.instances.map((instance) => ({
          vendor: vendor.name,
          region: region.name,
          instance,
          missing:
            missingProvider(vendor) ?? gone(instance) ?? tooSmall(vendor, region.name, instance, capacities),
        })),
      ),
    )
    .toSorted((a, b) => bySize(a.instance, b.instance));
}

/**
 * The offers that a request leaves open; the refusal names the field that leaves none, and what there is.
 */
export function openOffers(
  offers: readonly Offer[],
  vendors: readonly Vendor[],
  want: HardwareRequest,
): { ok: true; offers: Offer[] } | { ok: false; field: string; message: string } {
  const { vendor, region, accelerator, instanceType: type, instanceSize: size } = want;
  if (vendor && region && accelerator && type && size) {
    const found = findInstance(vendors, { vendor, region, accelerator, type, size });
    if (!found.ok) return found;
  }
  let left = [...offers];
  for (const [field, value, of] of FIELDS) {
    const wanted = value(want);
    if (wanted === undefined) continue;
    const known = [...new Set(left.map(of))];
    left = left.filter((offer) => of(offer) === wanted);
    if (left.length === 0)
      return {
        ok: false,
        field,
        message: `unknown ${field.split('.').at(-1)} '${wanted}': choose one of ${known.join(', ')}`,
      };
  }
  return { ok: true, offers: left };
}

type Field = [
  name: string,
  wanted: (want: HardwareRequest) => string | undefined,
  of: (offer: Offer) => string,
];
const FIELDS: readonly Field[] = [
  ['provider.vendor', (want) => want.vendor, (offer) => offer.vendor],
  ['provider.region', (want) => want.region, (offer) => offer.region],
  ['compute.accelerator', (want) => want.accelerator, ({ instance }) => instance.accelerator],
  ['compute.instanceType', (want) => want.instanceType, ({ instance }) => instance.type],
  ['compute.instanceSize', (want) => want.instanceSize, ({ instance }) => instance.size],
];

function gone({ type, size, status }: Instance): string | null {
  return status === 'not_available' || status === 'deprecated'
    ? `${type} ${size} is ${status.replace('_', ' ')}`
    : null;
}

/** Machines that have joined have the sizes they have. Before the first has, nothing is known. */
function tooSmall(
  vendor: Vendor,
  region: string,
  instance: Instance,
  capacities: readonly Capacity[],
): string | null {
  const here = capacities.filter((host) => host.vendor === vendor.name && host.region === region);
  if (vendor.provider !== 'docker' || here.length === 0) return null;
  const fits = here.some(
    (host) =>
      host.cpus >= instance.cpus && host.memoryBytes >= instance.memoryGb * GIB && host.gpus >= instance.gpus,
  );
  return fits
    ? null
    : `no host of ${vendor.name} ${region} is large enough for ${instance.type} ${instance.size}`;
}

function bySize(a: Instance, b: Instance): number {
  return (
    a.pricePerHour - b.pricePerHour ||
    a.gpus - b.gpus ||
    (a.gpuMemoryGb ?? 0) - (b.gpuMemoryGb ?? 0) ||
    a.memoryGb - b.memoryGb
  );
}
