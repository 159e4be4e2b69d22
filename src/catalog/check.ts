/** What takes more than one value of a layer, or more than one layer, to see. */
import type { Finding } from '../errors.ts';
import { identityOf } from '../spec/merge.ts';
import { keyLocationAt, locationAt, nodeAt, quoted, type SourceMapping } from '../spec/source-tree.ts';
import { nearest } from '../spec/suggest.ts';
import type { CatalogLayer } from './layer.ts';

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
  const lists: Path[] = [['needs'], ['provides'], ['health']];
  if (families?.kind === 'mapping') {
    for (const family of families.members.keys()) {
      for (const key of ['packages', 'files', 'units', 'kernelArguments'])
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

/** What a layer says of itself and of others: releases of a base, layers below. */
export function checkReferences(layers: readonly SourcedLayer[], names: readonly string[]): Finding[] {
  const known = ['base', 'kernel', ...names];
  return layers.flatMap(({ definition, source }) => {
    const findings = definition.needs.flatMap((need, index) =>
      known.includes(need)
        ? []
        : [finding(source, ['needs', index], `there is no layer ${quoted(need)}`, nearest(need, known))],
    );
    const isBase = definition.kind === 'base';
    if (isBase && definition.releases === undefined) {
      findings.push(finding(source, [], 'a base needs releases'));
    }
    for (const key of isBase ? [] : ['releases', 'defaultRelease']) {
      if (nodeAt(source, [key]) === undefined) continue;
      findings.push({
        ...finding(source, [key], `only a base has ${key}`),
        location: keyLocationAt(source, [key]),
      });
    }
    const { defaultRelease, releases = {} } = definition;
    if (isBase && defaultRelease !== undefined && !Object.hasOwn(releases, defaultRelease)) {
      const numbers = Object.keys(releases);
      findings.push(
        finding(
          source,
          ['defaultRelease'],
          `there is no release ${quoted(defaultRelease)}`,
          nearest(defaultRelease, numbers),
        ),
      );
    }
    return findings;
  });
}
