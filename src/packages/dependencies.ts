/** Relationship fields of Debian control files (Debian Policy §7.1), and what satisfies them. */
import { compareDebVersions, isDebVersion, parseDebVersion } from './deb-version.ts';

export type VersionRelation = '<<' | '<=' | '=' | '>=' | '>>';

/** One name in a relationship: `libc6:any (>= 2.38)`. */
export interface Dependency {
  readonly name: string;
  /** `any`, `native` or an architecture. */
  readonly qualifier?: string;
  readonly relation?: VersionRelation;
  readonly version?: string;
}

/** Alternatives, in the order of preference in which they were written: `a | b`. */
export type DependencyGroup = readonly Dependency[];

/** Names of rpm packages, which come here too, may also have `_`. */
const TERM = /^([a-z0-9][a-z0-9.+_-]*)(?::([a-z0-9-]+))?(?:\s*\(\s*(<<|<=|=|>=|>>|<|>)\s*([^\s)]+)\s*\))?/i;

/** Parses Depends, Pre-Depends or Provides. Terms that are not well-formed are left out, as dpkg would refuse them. */
export function parseDependencies(field: string): readonly DependencyGroup[] {
  return field
    .split(',')
    .map((group) => group.split('|').flatMap((term) => parseTerm(term.trim())))
    .filter((group) => group.length > 0);
}

function parseTerm(text: string): Dependency[] {
  const [, name, qualifier, relation, version] = TERM.exec(text) ?? [];
  if (name === undefined) return [];
  return [
    {
      name,
      ...(qualifier !== undefined && { qualifier }),
      // `<` and `>` are the deprecated spellings of `<=` and `>=`.
      ...(relation !== undefined && {
        relation: (relation === '<' ? '<=' : relation === '>' ? '>=' : relation) as VersionRelation,
      }),
      ...(version !== undefined && { version }),
    },
  ];
}

/** Whether a package of this version meets the dependency's version bound. */
export function admitsVersion(dependency: Dependency, version: string | undefined): boolean {
  if (dependency.relation === undefined || dependency.version === undefined) return true;
  if (version === undefined || !isDebVersion(version) || !isDebVersion(dependency.version)) return false;
  const order = compareDebVersions(parseDebVersion(version), parseDebVersion(dependency.version));
  switch (dependency.relation) {
    case '<<':
      return order < 0;
    case '<=':
      return order <= 0;
    case '=':
      return order === 0;
    case '>=':
      return order >= 0;
    case '>>':
      return order > 0;
  }
}
