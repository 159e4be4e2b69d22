/** The node of a lock as a Containerfile, and as a configuration of mkosi. */
import type { LockedPackage } from '../src/packages/package.ts';
import { imagePackages } from '../src/resolve/compare-locks.ts';
import type { Lock } from '../src/resolve/lock.ts';

/** Layers that the base image of the Containerfile holds. */
const BASE_KINDS: ReadonlySet<string> = new Set(['base', 'kernel']);

/** Packages of the base image: what both sides find made. */
export function basePackages(lock: Lock): LockedPackage[] {
  return lock.layers.filter(({ kind }) => BASE_KINDS.has(kind)).flatMap((layer) => layer.packages);
}

/**
 * One instruction for each layer above the kernel, in the lock's order, as people write them: driver, CUDA, the rest.
 *
 * @param salt makes the instructions from the first changed one on new to the builder's cache
 */
export function renderContainerfile(
  lock: Lock,
  salt: { readonly kind?: string; readonly round: number },
): string {
  const layers = lock.layers.filter(({ kind, packages }) => !BASE_KINDS.has(kind) && packages.length > 0);
  const install = layers.map(({ kind, packages }) => {
    const terms = packages.map(({ name, version }) => `${name}=${version}`).sort();
    const changed = kind === salt.kind ? `: round ${salt.round} && ` : '';
    return `RUN ${changed}apt-get install --yes --no-install-recommends ${terms.join(' ')} && apt-get clean`;
  });
  const { release } = lock.kernel;
  return [
    'FROM localhost/base',
    'COPY modules/ /',
    `RUN echo 'deb [trusted=yes] file:/repository ${lock.base.suite} main' > /etc/apt/sources.list && apt-get update`,
    ...install,
    `RUN depmod ${release} && dracut --force --no-hostonly /usr/lib/modules/${release}/initramfs.img ${release}`,
    '',
  ].join('\n');
}

export function renderMkosi(lock: Lock): string {
  const packages = [...imagePackages(lock)].map(({ name, version }) => `${name}=${version}`);
  return [
    '[Distribution]',
    'Distribution=debian',
    `Release=${lock.base.suite}`,
    'LocalMirror=file:///peers/repository',
    'RepositoryKeyCheck=no',
    '[Output]',
    'Format=oci',
    'OutputDirectory=/peers/mkosi-output',
    'CompressOutput=zstd',
    `CompressLevel=${lock.compressor.level}`,
    '[Content]',
    `Packages=${packages.join('\n    ')}`,
    'ExtraTrees=/peers/context/modules:/',
    'Bootable=no',
    '[Build]',
    'WithNetwork=no',
    'WorkspaceDirectory=/peers/mkosi-workspace',
    'PackageCacheDirectory=/peers/mkosi-packages',
    'Incremental=no',
    '',
  ].join('\n');
}
