/** What takes more than one value of a layer, or more than one layer, to see. */
import type { Finding } from '../errors.ts';
import { identityOf } from '../spec/merge.ts';
import { keyLocationAt, locationAt, nodeAt, quoted, type SourceMapping } from '../spec/source-tree.ts';
import { nearest } from '../spec/suggest.ts';
import type { CatalogLayer, LayerKind } from './layer.ts';

export interface SourcedLayer extends CatalogLayer {
  /** For findings made after loading. */
  readonly source: SourceMapping;
}

type Path = readonly (string | number)[];

function finding(
  source: SourceMapping,
  path: Path,
  message: string,
  suggestions: readonly string[] = [],
): Finding {
  return {
    code: 'CATALOG_INVALID',
    severity: 'error',
    message,
    location: locationAt(source, path),
    ...(suggestions.length > 0 && { suggestions }),
  };
}

/** Duplicates within one layer. */
export function checkLayer(source: SourceMapping): Finding[] {
  const families = nodeAt(source, ['install']);
  const lists: Path[] = [['needs'], ['provides'], ['health'], ['in'], ['requires'], ['lacks']];
  if (families?.kind === 'mapping') {
    for (const family of families.members.keys()) {
      for (const key of ['packages', 'components', 'repositories', 'files', 'units', 'kernelArguments'])
        lists.push(['install', family, key]);
    }
  }
  return lists.flatMap((path) => {
    const list = nodeAt(source, path);
    const seen = new Set<string>();
    return (list?.kind === 'list' ? list.items : []).flatMap((item, index) => {
      const identity = identityOf(item, String(path.at(-1)));
      if (identity === undefined || !seen.has(identity)) {
        if (identity !== undefined) seen.add(identity);
        return [];
      }
      return [finding(source, [...path, index], `${quoted(identity)} is given twice`)];
    });
  });
}

const KIND_KEYS: Readonly<Record<string, readonly LayerKind[]>> = {
  releases: ['base'],
  defaultRelease: ['base'],
  offers: ['driver', 'cuda', 'runtime', 'addon'],
  modules: ['driver', 'addon'],
  container: ['runtime'],
  lacks: ['kernel'],
};

/** What a layer says of itself and of others: keys of its kind, releases, versions, layers below. */
export function checkReferences(layers: readonly SourcedLayer[], names: readonly string[]): Finding[] {
  const provided = layers
    .filter(({ definition: { kind } }) => kind === 'driver' || kind === 'cuda')
    .flatMap(({ definition }) => definition.provides);
  const known = [...new Set(['base', 'kernel', ...names, ...provided])];
  const releases = layers.flatMap(({ definition }) =>
    Object.keys(definition.releases ?? {}).map((release) => `${definition.name}@${release}`),
  );
  return layers.flatMap((layer) => [
    ...checkKeys(layer),
    ...checkNeeds(layer, known),
    ...checkDefaultRelease(layer),
    ...checkReleases(layer, releases),
    ...checkKernelRelease(layer),
    ...checkOffers(layer),
  ]);
}

function checkKeys({ definition: { kind, releases }, source }: SourcedLayer): Finding[] {
  const findings = Object.entries(KIND_KEYS).flatMap(([key, kinds]): Finding[] =>
    kinds.includes(kind) || nodeAt(source, [key]) === undefined
      ? []
      : [
          {
            ...finding(source, [key], `only a ${kinds.join(' or ')} has ${key}`),
            location: keyLocationAt(source, [key]),
          },
        ],
  );
  for (const path of kind === 'agent' ? [] : productPaths(source)) {
    findings.push({
      ...finding(source, path, 'only an agent has files of Ingot itself'),
      location: keyLocationAt(source, path),
    });
  }
  if (kind === 'base' && releases === undefined) findings.push(finding(source, [], 'a base needs releases'));
  return findings;
}

/** Where the layer asks for files of Ingot's own. */
function productPaths(source: SourceMapping): Path[] {
  const families = nodeAt(source, ['install']);
  if (families?.kind !== 'mapping') return [];
  return [...families.members.keys()].flatMap((family) => {
    const files = nodeAt(source, ['install', family, 'files']);
    return (files?.kind === 'list' ? [...files.items.keys()] : [])
      .map((index) => ['install', family, 'files', index, 'product'])
      .filter((path) => nodeAt(source, path) !== undefined);
  });
}

function checkNeeds({ definition, source }: SourcedLayer, known: readonly string[]): Finding[] {
  return definition.needs.flatMap((need, index) =>
    known.includes(need)
      ? []
      : [finding(source, ['needs', index], `there is no layer ${quoted(need)}`, nearest(need, known))],
  );
}

function checkDefaultRelease({ definition, source }: SourcedLayer): Finding[] {
  const { kind, defaultRelease, releases = {} } = definition;
  if (kind !== 'base' || defaultRelease === undefined || Object.hasOwn(releases, defaultRelease)) return [];
  const near = nearest(defaultRelease, Object.keys(releases));
  return [finding(source, ['defaultRelease'], `there is no release ${quoted(defaultRelease)}`, near)];
}

function checkReleases({ definition, source }: SourcedLayer, known: readonly string[]): Finding[] {
  const { in: own = [], offers = [], install } = definition;
  const named: [Path, string][] = own.map((release, index) => [['in', index], release]);
  const kernelRelease = install.debian?.release;
  if (kernelRelease !== undefined) named.push([['install', 'debian', 'release'], kernelRelease]);
  for (const [offer, { in: releases }] of offers.entries()) {
    for (const [index, release] of releases.entries()) named.push([['offers', offer, 'in', index], release]);
  }
  // A base that cannot be read says for itself what is wrong with it.
  const bases = new Set(known.map((release) => release.split('@', 1)[0]));
  const findings = named.flatMap(([path, release]) =>
    known.includes(release) || !bases.has(release.split('@', 1)[0])
      ? []
      : [finding(source, path, `there is no release ${quoted(release)}`, nearest(release, known))],
  );
  if (own.length > 0 && offers.length > 0) {
    findings.push(finding(source, ['in'], 'in is for a layer without offers: they name their own releases'));
  }
  return findings;
}

/** Of another release nothing but a kernel can be had: all else would bring libraries of that release along. */
function checkKernelRelease({ definition: { kind, install }, source }: SourcedLayer): Finding[] {
  if (install.debian?.release === undefined || kind === 'kernel') return [];
  const path = ['install', 'debian', 'release'];
  const location = keyLocationAt(source, path);
  return [{ ...finding(source, path, 'only a kernel comes from another release'), location }];
}

/** A container's version is its tag's, any other's that of a package. */
function checkOffers({ definition, source }: SourcedLayer): Finding[] {
  const { offers = [], container, install } = definition;
  const findings = offers.flatMap((offer, index): Finding[] => {
    const path = ['offers', index];
    if (container !== undefined) {
      return offer.tag === undefined ? [finding(source, path, 'an offer of a container needs a tag')] : [];
    }
    return offer.tag === undefined && offer.digest === undefined
      ? []
      : [finding(source, path, 'only an offer of a container has a tag or a digest')];
  });
  if (container !== undefined && offers.length === 0) {
    findings.push(finding(source, ['container'], 'a container needs offers: they name its tags'));
  }
  // A version may also be in the names of packages.
  if (container === undefined && offers.some((offer) => offer.packages === undefined)) {
    if (install.debian !== undefined && install.debian.versionOf === undefined) {
      findings.push(finding(source, ['install', 'debian'], 'a layer with offers needs versionOf'));
    }
  }
  return findings;
}
