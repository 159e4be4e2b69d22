/** The archives of a lock: the base release's, with what the layers add to them. Pure. */
import type { Release } from '../catalog/layer.ts';
import { IngotError } from '../errors.ts';
import type { IndexedArchive, IndexedRelease } from '../packages/indexes.ts';
import type { Architecture } from '../spec/node-image.ts';
import type { LayerRequest } from './layers.ts';

const FAMILY = 'debian';

/**
 * @param number of the release, such as `13`, for the addresses of repositories
 * @returns the release itself when no layer adds to it
 * @throws IngotError CATALOG_INVALID when two layers mean different repositories by one name
 */
export function releaseWith(
  release: Release,
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
  const own = release.archives.map((archive) => ({
    ...archive,
    components: [...new Set([...archive.components, ...[...components].sort()])],
  }));
  return { ...release, archives: [...own, ...repositories.values()] };
}
