/** What an image asks of the NVIDIA driver of the host it runs on. */
export interface DriverNeed {
  /** Lowest driver branch it works with: 535 of 535.104.05. */
  branch: number;
  /** Why, for the refusal: `CUDA 13`. */
  because: string;
}

/** The NVIDIA driver of a host. */
export interface GpuDriver {
  /** Such as `580.65.06`. */
  version: string;
  /** Newest CUDA it runs, such as `13.0`; null when the driver does not say. */
  cuda: string | null;
}

/** True also for a driver that is not known: its host is given the benefit of the doubt. */
export function driverSuits(driver: GpuDriver | null | undefined, need: DriverNeed): boolean {
  const branch = Number(driver?.version.split('.')[0]);
  return !Number.isFinite(branch) || branch >= need.branch;
}

/** The sentence for a driver that does not suit. */
export function driverRefusal(image: string, version: string, need: DriverNeed): string {
  return `${image} needs NVIDIA driver ${need.branch} or newer (${need.because}) and there is ${version}: update the driver, or choose an image for an older CUDA`;
}
