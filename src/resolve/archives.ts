/** The archives of a lock: the base release's, with what the layers add to them. Pure. */
import type { Catalog } from '../catalog/layer.ts';
import { IngotError } from '../errors.ts';
import type { IndexedArchive, IndexedRelease } from '../packages/indexes.ts';
import type { Architecture, NodeImage } from '../spec/node-image.ts';
import type { LayerRequest } from './layers.ts';

const FAMILY = 'debian';

/**
 * @param number of the release, such as `13`, for the addresses of repositories
 * @returns the release itself when no layer adds to it
 * @throws IngotError CATALOG_INVALID when two layers mean different repositories by one name
 */
export function releaseWith(
  release: IndexedRelease,
  number: string,
  layers: readonly LayerRequest[],
  architecture: Architecture,
): IndexedRelease {
  const installs = layers.flatMap(({ definition }) => definition?.definition.install[FAMILY] ?? []);
  const components = new Set(installs.flatMap((install) => install.components ?? []));
  const repositories = new Map<string, IndexedArchive>();
  for (const repository of installs.flatMap((one) => one.repositories ?? [])) {
    const { name, url, suite, components: parts, key, architectures } = repository;
    const filled = (text: string): string =>
      text
        .replaceAll('{release}', number)
        .replaceAll('{suite}', release.suite)
        .replaceAll('{arch}', architectures?.[architecture] ?? architecture);
    const archive: IndexedArchive = {
      name,
      url: filled(url),
      suites: [filled(suite)],
      components: parts,
      keyring: key.keyring,
      fingerprint: key.fingerprint,
    };
    const other = repositories.get(name) ?? release.archives.find((own) => own.name === name);
    if (other !== undefined && JSON.stringify(other) !== JSON.stringify(archive)) {
      throw new IngotError('CATALOG_INVALID', `two layers mean different repositories by the name ${name}`, {
        hint: 'give one of them another name',
      });
    }
    repositories.set(name, archive);
  }
  if (components.size === 0 && repositories.size === 0) return release;
  // Components are Debian's; what a base configures for itself has those that it says.
  const own = release.archives.map((archive) =>
    archive.isOfBase === true
      ? archive
      : { ...archive, components: [...new Set([...archive.components, ...[...components].sort()])] },
  );
  return { ...release, archives: [...own, ...repositories.values()] };
}

/** The release that a layer's packages come from: the one that its definition names, else the image's own. */
export function originOf(
  { definition }: Pick<LayerRequest, 'definition'>,
  { base }: Pick<NodeImage, 'base'>,
): string {
  return definition?.definition.install[FAMILY]?.release ?? `${base.name}@${base.release}`;
}

/** The release that the image's kernel comes from, where that is another one than the image's. */
export function foreignKernel(
  image: Pick<NodeImage, 'base'>,
  layers: readonly LayerRequest[],
): string | undefined {
  const kernel = layers.find(({ kind }) => kind === 'kernel');
  const origin = kernel === undefined ? undefined : originOf(kernel, image);
  return origin === originOf({ definition: undefined }, image) ? undefined : origin;
}

/** A release as `debian@13` names it. */
export function splitRelease(reference: string): { readonly name: string; readonly release: string } {
  const [name = '', release = ''] = reference.split('@', 2);
  return { name, release };
}

/**
 * Archives of other releases that layers take their kernel from, after the image's own. They have no components but
 * the base's, and nothing is taken from them but what is asked for with its version.
 */
export function withForeign(
  release: IndexedRelease,
  image: Pick<NodeImage, 'base'>,
  layers: readonly LayerRequest[],
  catalog: Catalog,
): IndexedRelease {
  const { base } = image;
  const own = `${base.name}@${base.release}`;
  const origins = new Set(layers.map((layer) => originOf(layer, image)));
  origins.delete(own);
  const foreign = [...origins].sort().flatMap((reference): IndexedArchive[] => {
    const { name, release: number } = splitRelease(reference);
    const other = catalog.find('base', name)?.definition.releases?.[number];
    const { checkValidUntil } = other ?? release;
    return (other?.archives ?? []).map((archive) => ({ ...archive, foreign: true, checkValidUntil }));
  });
  return foreign.length === 0 ? release : { ...release, archives: [...release.archives, ...foreign] };
}
