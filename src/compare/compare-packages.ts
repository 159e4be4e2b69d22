/** Which packages came, went and moved, and in which direction. Pure. */
import { compareDebVersions, isDebVersion } from '../packages/deb-version.ts';
import { compareRpmVersions } from '../packages/rpm/rpm-version.ts';
import { parseStanzas } from '../packages/stanzas.ts';
import type { SummaryPackage } from './image-summary.ts';

export interface ChangedPackage {
  readonly name: string;
  readonly source: string;
  readonly from: string;
  readonly to: string;
  /** `content`: the same version, other bytes. */
  readonly direction: 'newer' | 'older' | 'content';
  readonly security: boolean;
  /** Of the new package file, where that is known. */
  readonly bytes?: number | undefined;
}

export interface PackageDifference {
  readonly added: readonly SummaryPackage[];
  readonly removed: readonly SummaryPackage[];
  readonly changed: readonly ChangedPackage[];
}

/** In name order. */
export function comparePackages(
  before: readonly SummaryPackage[],
  after: readonly SummaryPackage[],
): PackageDifference {
  const old = new Map(before.map((item) => [item.name, item]));
  const fresh = new Map(after.map((item) => [item.name, item]));
  return {
    added: byName(after.filter(({ name }) => !old.has(name))),
    removed: byName(before.filter(({ name }) => !fresh.has(name))),
    changed: byName(after).flatMap((to): ChangedPackage[] => {
      const from = old.get(to.name);
      const isSameFile = from?.sha256 === to.sha256 || from?.sha256 === undefined || to.sha256 === undefined;
      if (from === undefined || (from.version === to.version && isSameFile)) return [];
      return [
        {
          name: to.name,
          source: to.source,
          from: from.version,
          to: to.version,
          direction: directionOf(from, to),
          security: to.security === true,
          bytes: to.bytes,
        },
      ];
    }),
  };
}

/** What dpkg's status file says is installed. */
export function installedPackages(status: string): SummaryPackage[] {
  return parseStanzas(status).flatMap((stanza): SummaryPackage[] => {
    const [name, version] = [stanza.get('package'), stanza.get('version')];
    const isInstalled = stanza.get('status')?.endsWith(' installed') === true;
    if (name === undefined || version === undefined || !isInstalled) return [];
    const kibibytes = Number(stanza.get('installed-size') ?? Number.NaN);
    return [
      {
        name,
        version,
        source: stanza.get('source')?.replace(/ .*$/s, '') ?? name,
        ...(Number.isSafeInteger(kibibytes) && { bytes: kibibytes * 1024 }),
      },
    ];
  });
}

function directionOf(from: SummaryPackage, to: SummaryPackage): ChangedPackage['direction'] {
  if (from.version === to.version) return 'content';
  return orderOf(from, to) < 0 ? 'older' : 'newer';
}

/** Negative when the second one is older; 0 where nobody can tell. */
function orderOf(from: SummaryPackage, to: SummaryPackage): number {
  if (from.format === 'rpm' && to.format === 'rpm') return compareRpmVersions(to.version, from.version);
  if (!isDebVersion(from.version) || !isDebVersion(to.version)) return 0;
  return compareDebVersions(to.version, from.version);
}

function byName<T extends { readonly name: string }>(items: readonly T[]): T[] {
  return [...items].sort((left, right) => (left.name < right.name ? -1 : left.name > right.name ? 1 : 0));
}
