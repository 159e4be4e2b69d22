/** What a lock asks apt for: everything that layers and the declaration want, and which locked versions stay. */
import { IngotError } from '../errors.ts';
import type { KernelImage } from '../packages/kernels.ts';
import type { LockedPackage } from '../packages/package.ts';
import { parsePackageTerm, type PackageRequest } from '../packages/solve.ts';
import { imagePackages } from '../resolve/compare-locks.ts';
import { foreignKernel } from '../resolve/archives.ts';
import type { LayerRequest } from '../resolve/layers.ts';
import { moduleSources } from '../resolve/lock-accelerators.ts';
import type { Lock } from '../resolve/lock.ts';
import type { ParsedSpec } from '../spec/node-image.ts';
import { nearest } from '../spec/suggest.ts';

/** Which locked versions to let go of. */
export type Updates = 'none' | 'all' | ReadonlySet<string>;

/**
 * With who asks.
 *
 * @param kernel what was chosen; without it the metapackage of the kernel layer decides, or says what is missing
 */
export function requestsOf(
  { image, sources }: ParsedSpec,
  layers: readonly LayerRequest[],
  kernel: KernelImage | undefined,
): PackageRequest[] {
  return layers.flatMap((layer) =>
    layer.packages.map((term, position): PackageRequest => {
      const parsed = parsePackageTerm(term);
      if (layer.definition === undefined) {
        return { ...parsed, by: 'packages', location: sources.at(['packages', position]) };
      }
      const { kind, name, install } = layer.definition.definition;
      const by = `layer ${kind}/${name}`;
      if (kind === 'kernel') {
        const location = sources.at(['kernel', 'version']);
        if (kernel?.metapackage.name === parsed.name) {
          const isForeign = foreignKernel(image, layers) !== undefined;
          return { ...packageOf(kernel), by, location, ...(isForeign && { isForeign: true as const }) };
        }
        const { version } = image.kernel;
        if (version !== undefined && parsed.name.startsWith('linux-image-')) {
          return { ...parsed, by, series: version, location };
        }
      }
      const isOffered = install.debian?.versionOf?.includes(parsed.name) === true;
      return {
        ...parsed,
        by,
        ...(isOffered && layer.version !== undefined && { series: layer.version }),
        ...(install.debian?.repositories !== undefined && { isVendors: true as const }),
      };
    }),
  );
}

/** The metapackage where it stands for this very image, so that an image tells what it follows. */
function packageOf({ name, version, metapackage }: KernelImage): { name: string; version: string } {
  return metapackage.version === undefined
    ? { name, version }
    : { name: metapackage.name, version: metapackage.version };
}

export function sourcesOf(layers: readonly LayerRequest[]): PackageRequest[] {
  return moduleSources(layers).map(({ layer, name }) => ({
    name,
    by: `layer ${layer.kind}/${layer.definition?.definition.name ?? ''}`,
    ...(layer.version !== undefined && { series: layer.version }),
  }));
}

export function keptOf(
  packages: readonly LockedPackage[],
  updates: Updates,
): { name: string; version: string }[] {
  if (updates === 'all') return [];
  return packages
    .filter(({ name }) => updates === 'none' || !updates.has(name))
    .map(({ name, version }) => ({ name, version }));
}

/** @throws IngotError USAGE for a name that neither the lock nor the image has */
export function requireKnown(
  updates: Updates,
  previous: Lock | undefined,
  layers: readonly LayerRequest[],
  { containers = [], models = [] }: ParsedSpec['image'],
): void {
  if (typeof updates === 'string') return;
  const known = new Set([
    ...[
      ...imagePackages(previous),
      ...(previous?.tools.packages ?? []),
      ...(previous?.compile?.packages ?? []),
      ...(previous?.rpm?.packages ?? []),
    ].map(({ name }) => name),
    ...moduleSources(layers).map(({ name }) => name),
    ...[...containers, ...models].map(({ name }) => name),
    ...layers.flatMap(({ packages }) => packages.map((term) => parsePackageTerm(term).name)),
  ]);
  for (const name of updates) {
    if (known.has(name)) continue;
    const [suggestion] = nearest(name, known);
    throw new IngotError('USAGE', `--update ${name}: the lock has no such package, container or model`, {
      hint: suggestion === undefined ? 'name one of the lock' : `did you mean ${suggestion}?`,
    });
  }
}
