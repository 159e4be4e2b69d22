/** What a lock decided, as the only thing on offer: exact kernels and packages are known to it alone. */
import { isDriverVersion, isKernelVersion, type DriverVersion } from '../../catalog/facts/versions.ts';
import type { Lock } from '../lock.ts';
import type { FitOffers, FitRequest } from './request.ts';

/** The offers of the catalogue, with the lock's kernel and driver in the place of all others. */
export function offersOfLock(offers: FitOffers, lock: Lock): FitOffers {
  const { kernel, driver, modules = [] } = lock;
  const version = /^\d+(?:\.\d+){1,2}/.exec(kernel.version)?.[0] ?? '';
  const source = modules.find(({ layer }) => layer === driver?.layer)?.source;
  const packageVersion = source?.version ?? driver?.package;
  return {
    ...offers,
    ...(isKernelVersion(version) && { kernels: [{ layer: kernel.flavour, version }] }),
    ...(driver?.version !== undefined &&
      isDriverVersion(driver.version) && {
        drivers: (offers.drivers ?? [])
          .filter((offer) => `driver-${offer.layer}` === driver.layer && offer.version === driver.version)
          .map((offer) => ({
            ...offer,
            ...(packageVersion !== undefined && { packageVersion }),
            parts: partsOf(lock),
          })),
      }),
  };
}

/** The upstream versions of what must be of one release: modules, GSP firmware, libraries. */
function partsOf({ driver, layers, modules = [] }: Lock): Readonly<Record<string, DriverVersion>> {
  const own = layers.find(({ name }) => name === driver?.layer)?.packages ?? [];
  const versions: readonly (readonly [string, string | undefined])[] = [
    ['modules', modules.find(({ layer }) => layer === driver?.layer)?.source.version],
    ['firmware', own.find(({ name }) => /^(?:firmware-nvidia-|nvidia-firmware)/.test(name))?.version],
    ['libraries', own.find(({ name }) => /^libcuda1?$|^libnvidia-compute/.test(name))?.version],
  ];
  return Object.fromEntries(
    versions.flatMap(([part, version = '']) => {
      // Without the epoch before and Debian's revision after it.
      const [, upstream = ''] = /^(?:\d+:)?(\d+(?:\.\d+)+)/.exec(version) ?? [];
      return isDriverVersion(upstream) ? [[part, upstream] as const] : [];
    }),
  );
}

/** The request, but for what the lock has decided otherwise than the declaration may say it: its kernel. */
export function requestOfLock(request: FitRequest, { kernel }: Lock): FitRequest {
  return { ...request, kernel: { flavour: kernel.flavour } };
}
