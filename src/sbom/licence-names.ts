/**
 * Short names of licences in Debian's copyright files (copyright-format 1.0, section 7.1) and what SPDX calls them. Only
 * names that mean one text are here: `MIT`, `Artistic`, `Perl` or `BSD` are used for several, so they have no row.
 */

/** By short name in lower case: the format compares them so. */
const NAMES: ReadonlyMap<string, string> = new Map([
  ['expat', 'MIT'],
  ['isc', 'ISC'],
  ['zlib', 'Zlib'],
  ['cc0', 'CC0-1.0'],
  ...[
    ...['0BSD', 'AFL-2.1', 'AFL-3.0', 'Apache-1.0', 'Apache-1.1', 'Apache-2.0', 'Artistic-2.0'],
    ...['BSD-2-Clause', 'BSD-3-Clause', 'BSD-4-Clause', 'BSL-1.0', 'CC0-1.0', 'CDDL-1.0', 'CDDL-1.1'],
    ...['CPL-1.0', 'EFL-1.0', 'EFL-2.0', 'EPL-1.0', 'EPL-2.0', 'LPPL-1.0', 'LPPL-1.1', 'LPPL-1.2'],
    ...['LPPL-1.3a', 'LPPL-1.3c', 'MIT-0', 'MPL-1.0', 'MPL-1.1', 'MPL-2.0', 'OFL-1.0', 'OFL-1.1'],
    ...['FSFAP', 'FSFUL', 'FSFULLR', 'Unicode-DFS-2015', 'Unicode-DFS-2016', 'BSD-4-Clause-UC'],
    ...['OLDAP-2.8', 'PostgreSQL', 'QPL-1.0', 'Unicode-3.0', 'Unlicense', 'ZPL-1.1', 'ZPL-2.0', 'ZPL-2.1'],
    ...['CC-BY', 'CC-BY-SA', 'CC-BY-ND', 'CC-BY-NC', 'CC-BY-NC-SA', 'CC-BY-NC-ND'].flatMap((name) =>
      ['1.0', '2.0', '2.5', '3.0', '4.0'].map((version) => `${name}-${version}`),
    ),
  ].map((name) => [name.toLowerCase(), name] as const),
]);

/** `GPL-2+`, `LGPL-2.1`, `GFDL-NIV-1.3+`; also as SPDX writes them. */
const GNU = /^(gpl|lgpl|agpl|gfdl|gfdl-niv)-(\d)(?:\.(\d))?(\+|-only|-or-later)?$/;
const GNU_VERSIONS: Readonly<Record<string, readonly string[]>> = {
  gpl: ['1.0', '2.0', '3.0'],
  lgpl: ['2.0', '2.1', '3.0'],
  agpl: ['1.0', '3.0'],
  gfdl: ['1.1', '1.2', '1.3'],
  'gfdl-niv': ['1.1', '1.2', '1.3'],
};

/** The SPDX identifier of a short name; undefined when it could mean more than one text. */
export function spdxIdOf(name: string): string | undefined {
  const lower = name.toLowerCase();
  const [, family, major, minor = '0', bound = ''] = GNU.exec(lower) ?? [];
  if (family === undefined || major === undefined) return NAMES.get(lower);
  const version = `${major}.${minor}`;
  if (GNU_VERSIONS[family]?.includes(version) !== true) return undefined;
  const later = bound === '+' || bound === '-or-later' ? 'or-later' : 'only';
  return family === 'gfdl-niv'
    ? `GFDL-${version}-no-invariants-${later}`
    : `${family.toUpperCase()}-${version}-${later}`;
}
