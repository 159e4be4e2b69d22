/** Kernel images of package indexes. Signed ones alone: `-unsigned` and `-dbg` are packages of other names. */
import * as z from 'zod';

import { compareDebVersions, hasVersionPrefix, isDebVersion } from './deb-version.ts';
import { admitsVersion, parseDependencies } from './dependencies.ts';
import type { PackageIndex } from './package-index.ts';

export const KernelImage = z.strictObject({
  /** `linux-image-6.12.57+deb13-cloud-amd64` */
  name: z.string(),
  version: z.string(),
  /** Of its flavour; with a version where that stands for this very image. */
  metapackage: z.strictObject({ name: z.string(), version: z.string().optional() }),
  /** Modules cannot be built for it: archives keep images of earlier updates whose headers are gone. */
  lacksHeaders: z.literal(true).optional(),
});
export type KernelImage = z.infer<typeof KernelImage>;

/** The package with the headers of a kernel. */
export function headersOf({ release }: { readonly release: string }): string {
  return `linux-headers-${release}`;
}

/** What `uname -r` says where it runs. */
export function kernelRelease({ name }: Pick<KernelImage, 'name'>): string {
  return name.replace(/^linux-image-/, '');
}

/**
 * Images that a metapackage such as `linux-image-cloud-amd64` may stand for, newest first. A release keeps those of
 * its earlier updates for a time, which no metapackage names any more.
 */
export function kernelImages(index: PackageIndex, meta: string): KernelImage[] {
  const flavour = meta.replace(/^linux-image-/, '').replaceAll('+', String.raw`\+`);
  // `6.12.57+deb13`, and `6.1.0-40` up to bookworm.
  const pattern = new RegExp(String.raw`^linux-image-\d[\w.+~]*(-\d+)?-${flavour}$`);
  const metas = index.versions(meta).map((version) => ({
    name: meta,
    version,
    depends: parseDependencies(index.find(meta, version)?.stanza.get('depends') ?? '').flat(),
  }));
  return [...index.names()]
    .filter((name) => pattern.test(name))
    .flatMap((name) => index.versions(name).map((version) => ({ name, version })))
    .map((image): KernelImage => {
      const standing = metas.find(({ depends }) =>
        depends.some((one) => one.name === image.name && admitsVersion(one, image.version)),
      );
      const { version } = standing ?? {};
      const headers = index.versions(headersOf({ release: kernelRelease(image) }));
      return {
        ...image,
        metapackage: { name: meta, ...(version !== undefined && { version }) },
        ...(!headers.includes(image.version) && { lacksHeaders: true }),
      };
    })
    .sort(compareImages);
}

/** Newest first. Builds of one upstream release differ in their packages' versions. */
export function compareImages(left: KernelImage | undefined, right: KernelImage | undefined): number {
  if (left === undefined || right === undefined) return 0;
  const order =
    isDebVersion(left.version) && isDebVersion(right.version)
      ? compareDebVersions(right.version, left.version)
      : 0;
  return order || (left.name < right.name ? 1 : left.name > right.name ? -1 : 0);
}

/** Whether an image is meant by a version or the start of one: of its package (`6.12`) or of its release. */
export function isKernelOf(image: Pick<KernelImage, 'name' | 'version'>, asked: string): boolean {
  return [image.version, kernelRelease(image)].some(
    (version) => isDebVersion(version) && hasVersionPrefix(version, asked),
  );
}
