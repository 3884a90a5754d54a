import { z } from 'zod';

/** One row of the hardware catalogue: what a replica of this instance gets on its host, and what it costs. */
export const instanceSchema = z.strictObject({
  accelerator: z.enum(['cpu', 'gpu', 'neuron']),
  type: z.string().min(1),
  size: z.string().min(1),
  /** The provider's own name of the machine, such as `g2-standard-8`, where it rents one. */
  machineType: z.string().min(1).optional(),
  /** Display text, such as "Intel Sapphire Rapids". */
  architecture: z.string().min(1),
  /** CPUs of a host given to one replica; may be a fraction. */
  cpus: z.number().positive(),
  memoryGb: z.number().positive(),
  gpus: z.int().nonnegative().default(0),
  /** Memory of all accelerators of one replica together. */
  gpuMemoryGb: z.number().positive().optional(),
  /** US dollars per replica and hour. */
  pricePerHour: z.number().nonnegative(),
  status: z
    .enum(['available', 'low_availability', 'not_available', 'reserved', 'deprecated'])
    .default('available'),
});
export type Instance = z.infer<typeof instanceSchema>;

export const vendorSchema = z.strictObject({
  name: z.string().min(1),
  /** Which provider makes hosts for this vendor: machines that joined (`docker`), or rented ones. */
  provider: z.enum(['docker', 'gcp']),
  regions: z
    .array(
      z.strictObject({
        name: z.string().min(1),
        label: z.string().min(1),
        instances: z.array(instanceSchema).min(1),
      }),
    )
    .min(1),
});
export type Vendor = z.infer<typeof vendorSchema>;

/** The providers this installation can get hosts by. */
const PROVIDERS_IN_PLACE: ReadonlySet<Vendor['provider']> = new Set(['docker']);

/**
 * Why nothing can run on this vendor's hardware here, and what to do; null when it can. Such hardware is listed all the
 * same, so that a plan can be made for it.
 */
export function missingProvider(vendor: Pick<Vendor, 'name' | 'provider'>): string | null {
  if (PROVIDERS_IN_PLACE.has(vendor.provider)) return null;
  return `'${vendor.name}' is listed for planning only, because this installation has no provider '${vendor.provider}' that rents its machines: choose another vendor, or ask with ?dryRun=true for the plan`;
}

/** `vendor-region-type-size`, the public API's id of a compute row. */
export function computeId(vendor: string, region: string, instance: Pick<Instance, 'type' | 'size'>): string {
  return `${vendor}-${region}-${instance.type}-${instance.size}`;
}

export type InstanceLookup = { ok: true; instance: Instance } | { ok: false; field: string; message: string };

/** Finds the catalogue row a request names; the refusal lists what would have been right. */
export function findInstance(
  vendors: readonly Vendor[],
  want: { vendor: string; region: string; accelerator: string; type: string; size: string },
): InstanceLookup {
  const miss = (field: string, value: string, known: readonly string[]): InstanceLookup => ({
    ok: false,
    field,
    message: `unknown ${field.split('.').at(-1)} '${value}': choose one of ${[...new Set(known)].join(', ')}`,
  });
  const vendor = vendors.find((v) => v.name === want.vendor);
  if (!vendor)
    return miss(
      'provider.vendor',
      want.vendor,
      vendors.map((v) => v.name),
    );
  const region = vendor.regions.find((r) => r.name === want.region);
  if (!region)
    return miss(
      'provider.region',
      want.region,
      vendor.regions.map((r) => r.name),
    );
  const ofType = region.instances.filter((i) => i.type === want.type);
  if (!ofType.length)
    return miss(
      'compute.instanceType',
      want.type,
      region.instances.map((i) => i.type),
    );
  const instance = ofType.find((i) => i.size === want.size);
  if (!instance)
    return miss(
      'compute.instanceSize',
      want.size,
      ofType.map((i) => i.size),
    );
  if (instance.accelerator !== want.accelerator)
    return miss('compute.accelerator', want.accelerator, [instance.accelerator]);
  return { ok: true, instance };
}
