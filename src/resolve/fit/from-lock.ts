/** What a lock decided, as the only thing on offer: exact kernels and packages are known to it alone. */
import { isDriverVersion, isKernelVersion } from '../../catalog/facts/versions.ts';
import type { Lock } from '../lock.ts';
import type { FitOffers, FitRequest } from './request.ts';

/** The offers of the catalogue, with the lock's kernel and driver in the place of all others. */
export function offersOfLock(offers: FitOffers, { kernel, driver, modules = [] }: Lock): FitOffers {
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
          .map((offer) => ({ ...offer, ...(packageVersion !== undefined && { packageVersion }) })),
      }),
  };
}

/** The request, but for what the lock has decided otherwise than the declaration may say it: its kernel. */
export function requestOfLock(request: FitRequest, { kernel }: Lock): FitRequest {
  return { ...request, kernel: { flavour: kernel.flavour } };
}
