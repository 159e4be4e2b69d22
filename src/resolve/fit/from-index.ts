/** What package indexes have, as offers: the very kernels, and the very packages that modules are built from. */
import { isKernelVersion } from '../../catalog/facts/versions.ts';
import type { KernelImage } from '../../packages/kernels.ts';
import { upstreamOf } from './kernel-candidates.ts';
import type { FitOffers, KernelOffer } from './request.ts';

export interface IndexedChoices {
  /** Images by kernel layer. */
  readonly kernels: ReadonlyMap<string, readonly KernelImage[]>;
  /** Version of the source of a driver's modules, by driver layer and version of the driver: `nvidia-open 550.163.01`. */
  readonly sources: ReadonlyMap<string, string>;
  /** Of the lock that is brought up to date, when its kernel may stay. */
  readonly locked: Pick<KernelImage, 'name' | 'version'> | undefined;
}

export function sourceKey(layer: string, version: string): string {
  return `${layer} ${version}`;
}

/** The offers of the catalogue, with what the indexes have added. */
export function offersOfIndex(offers: FitOffers, { kernels, sources, locked }: IndexedChoices): FitOffers {
  const images = [...kernels].flatMap(([layer, list]) => {
    const lacks = offers.kernelLayers?.find((one) => one.layer === layer)?.lacks ?? [];
    return list.flatMap((image): KernelOffer[] => {
      const version = upstreamOf(image.version);
      if (version === undefined || !isKernelVersion(version)) return [];
      const isLocked = image.name === locked?.name && image.version === locked.version;
      return [{ layer, version, image, ...(lacks.length > 0 && { lacks }), ...(isLocked && { isLocked }) }];
    });
  });
  return {
    ...offers,
    ...(images.length > 0 && { kernels: images }),
    ...(offers.drivers !== undefined && {
      drivers: offers.drivers.map((offer) => {
        const packageVersion =
          offer.version === undefined ? undefined : sources.get(sourceKey(offer.layer, offer.version));
        return { ...offer, ...(packageVersion !== undefined && { packageVersion }) };
      }),
    }),
  };
}
