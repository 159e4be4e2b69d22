/** Catalogues, declarations and solutions in a few words, for tests of what is made of them. */
import type { Catalog, CatalogLayer, LayerKind } from '../../src/catalog/layer.ts';
import { digestOf, hexOf } from '../../src/digest.ts';
import type { Solution, SolvedPackage } from '../../src/packages/solution.ts';
import type { NodeImage } from '../../src/spec/node-image.ts';

export function layer(
  kind: LayerKind,
  name: string,
  packages: readonly string[],
  needs: readonly string[] = [],
): CatalogLayer {
  const install = { packages: [...packages], files: [], units: [], kernelArguments: [] };
  return {
    definition: {
      name,
      kind,
      summary: `${name} for tests`,
      needs: [...needs],
      provides: [],
      install: { debian: install },
      health: [],
    },
    file: `layers/${kind}/${name}.yaml`,
    digest: digestOf(JSON.stringify([kind, name, packages, needs])),
    contents: new Map(),
  };
}

export function catalogOf(...layers: readonly CatalogLayer[]): Catalog {
  return {
    layers,
    find: (kind, name) =>
      layers.find(({ definition }) => definition.kind === kind && definition.name === name),
  };
}

export function imageOf(overrides: Partial<NodeImage> = {}): NodeImage {
  return {
    name: 'node',
    architecture: 'amd64',
    base: { name: 'debian', release: '13' },
    kernel: { flavour: 'cloud' },
    addons: [],
    packages: [],
    groups: [],
    users: [],
    files: [],
    units: [],
    kernelArguments: [],
    health: [],
    ...overrides,
  };
}

export interface PackageDetails {
  readonly version?: string;
  readonly depends?: string;
  readonly provides?: string;
  readonly essential?: boolean;
}

export function solved(name: string, details: PackageDetails = {}): SolvedPackage {
  const version = details.version ?? '1.0-1';
  return {
    package: {
      name,
      version,
      architecture: 'amd64',
      sha256: hexOf(digestOf(`${name} ${version}`)),
      size: 1000 + name.length,
      filename: `pool/main/${name}_${version}_amd64.deb`,
      archive: 'debian',
    },
    essential: details.essential ?? false,
    depends: details.depends ?? '',
    provides: details.provides ?? '',
  };
}

export function solutionOf(...packages: readonly SolvedPackage[]): Solution {
  return {
    suite: 'trixie',
    archives: [{ name: 'debian', suites: ['trixie'], components: ['main'] }],
    packages: [...packages],
  };
}
