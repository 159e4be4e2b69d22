/** Names of Debian's releases, as the two kinds of data have them. Pure. */
import type { Subject } from '../sbom/bill.ts';

const CODENAMES: Readonly<Record<string, string>> = {
  '11': 'bullseye',
  '12': 'bookworm',
  '13': 'trixie',
  '14': 'forky',
  '15': 'duke',
};

export interface DebianRelease {
  /** As the tracker has it: `trixie`, `sid`. */
  readonly codename: string;
  /** As OSV has it: `13`; undefined for unstable, which it does not know. */
  readonly number: string | undefined;
}

/** @returns undefined when the image is not of Debian */
export function debianReleaseOf({ base, distribution }: Subject): DebianRelease | undefined {
  const [name, release = ''] = base?.split('@') ?? [];
  if (name !== undefined && name !== 'debian') return undefined;
  const aliases: Readonly<Record<string, string>> = { unstable: 'sid', testing: 'forky' };
  const said = aliases[distribution ?? ''] ?? distribution;
  const codename = said ?? CODENAMES[release] ?? aliases[release] ?? release;
  if (codename === '') return undefined;
  const number = Object.entries(CODENAMES).find(([, known]) => known === codename)?.[0];
  return { codename, number };
}
