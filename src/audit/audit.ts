/** Which of the known vulnerabilities an image has, and what mends them. Pure. */
import { compareDebVersions, isDebVersion } from '../packages/deb-version.ts';
import type { Bill, Component } from '../sbom/bill.ts';
import { type Advisory, type Urgency, URGENCIES } from './advisory.ts';

export interface AuditedSource {
  readonly name: string;
  readonly version: string;
  /** Binary packages of it that are installed, in name order. */
  readonly packages: readonly string[];
  /** The version was taken from a package's, since a lock does not name it. */
  readonly isDerived: boolean;
}

export interface AuditFinding {
  readonly id: string;
  readonly source: string;
  readonly version: string;
  readonly packages: readonly string[];
  readonly urgency: Urgency;
  /** The version of the release that mends it; undefined while there is none. */
  readonly fixed?: string | undefined;
  /** The version of unstable that mends it, where the release has none. */
  readonly fixedInSid?: string | undefined;
  readonly postponed?: string | undefined;
  readonly summary?: string | undefined;
}

export interface Audit {
  /** The most urgent first. */
  readonly findings: readonly AuditFinding[];
  /** Of which the data says that nobody has looked yet. */
  readonly undetermined: number;
  readonly sources: number;
  /** What was not looked at, as a sentence each. */
  readonly gaps: readonly string[];
}

/** What a bill has that Debian's data can tell of, by source package. */
export function auditedSources(bill: Bill): readonly AuditedSource[] {
  const found = new Map<string, { version: string; packages: string[]; isDerived: boolean }>();
  for (const component of bill.components.filter(isOfDebian)) {
    const known = sourceOf(component, bill);
    if (known === undefined) continue;
    const key = `${known.name} ${known.version}`;
    const entry = found.get(key);
    if (entry === undefined) {
      found.set(key, { version: known.version, packages: [component.name], isDerived: known.isDerived });
    } else entry.packages.push(component.name);
  }
  return [...found].map(([key, { version, packages, isDerived }]) => ({
    name: key.slice(0, key.indexOf(' ')),
    version,
    packages: packages.sort(),
    isDerived,
  }));
}

export function audit(bill: Bill, advisories: readonly Advisory[]): Audit {
  const sources = auditedSources(bill);
  const bySource = new Map<string, Advisory[]>();
  for (const advisory of advisories) {
    const others = bySource.get(advisory.source);
    if (others === undefined) bySource.set(advisory.source, [advisory]);
    else others.push(advisory);
  }
  const findings = new Map<string, AuditFinding>();
  const undetermined = new Set<string>();
  for (const source of sources) {
    for (const advisory of bySource.get(source.name) ?? []) {
      const key = `${advisory.id} ${source.name} ${source.version}`;
      if (advisory.affected.kind === 'undetermined') undetermined.add(key);
      const known = findings.get(key);
      const finding = findingOf(source, advisory);
      // An issue's own record and an advisory's about it say the same; who knows what mends it is heard.
      if (finding !== undefined && known?.fixed === undefined) findings.set(key, finding);
    }
  }
  const foreign = bill.components.filter((one) => isInstalled(one) && !isOfDebian(one)).length;
  const containers = bill.components.filter(({ kind }) => kind === 'container').length;
  const derived = sources.filter(({ isDerived }) => isDerived).length;
  return {
    findings: [...findings.values()].sort(byUrgency),
    undetermined: undetermined.size,
    sources: sources.length,
    gaps: [
      ...(foreign === 0
        ? []
        : [`${foreign} packages are from vendors' archives, of which this data knows nothing`]),
      ...(containers === 0 ? [] : [`${containers} containers that the node runs were not looked into`]),
      ...(derived === 0
        ? []
        : [
            `versions of ${derived} source packages were taken from their binary packages, as a lock does not name them`,
          ]),
      ...bill.gaps.filter(
        (gap) => gap.startsWith('packages of the base') || gap.includes('package database'),
      ),
    ],
  };
}

/** What the release's data says of this version; undefined when it is not affected. */
function findingOf({ name, version, packages }: AuditedSource, advisory: Advisory): AuditFinding | undefined {
  const { id, urgency, affected, fixedInSid, postponed, summary } = advisory;
  if (affected.kind === 'undetermined') return undefined;
  const range = affected.ranges.find(
    ({ introduced, fixed, last }) =>
      (introduced === '0' || order(version, introduced) >= 0) &&
      (fixed === undefined || order(version, fixed) < 0) &&
      (last === undefined || order(version, last) <= 0),
  );
  if (range === undefined && !affected.versions.has(version)) return undefined;
  // Where the release has no fix of its own, the bound of its range is that of unstable.
  const fixed = range?.fixed === fixedInSid ? undefined : range?.fixed;
  return {
    id,
    source: name,
    version,
    packages,
    urgency,
    ...(fixed !== undefined && { fixed }),
    ...(fixed === undefined && fixedInSid !== undefined && { fixedInSid }),
    ...(postponed !== undefined && { postponed }),
    ...(summary !== undefined && { summary }),
  };
}

function isInstalled({ kind }: Component): boolean {
  return kind === 'package' || kind === 'source';
}

/** Vendors' packages are named after their archives. */
function isOfDebian(component: Component): boolean {
  return isInstalled(component) && component.purl?.startsWith('pkg:deb/debian/') === true;
}

/**
 * The source that the tracker files issues under. The signed kernel is built of a source of its own that repeats
 * `linux`, whose version its packages have.
 */
function sourceOf(
  { name, version, source }: Component,
  bill: Bill,
): { readonly name: string; readonly version: string; readonly isDerived: boolean } | undefined {
  if (version === undefined) return undefined;
  const sourceName = source?.name ?? name;
  if (sourceName.startsWith('linux-signed-')) return { name: 'linux', version, isDerived: false };
  if (source?.version !== undefined) return { name: sourceName, version: source.version, isDerived: false };
  // The package that is called as its source has its version, when there is one; `+b1` is a rebuild of the same.
  const main = bill.components.find((one) => one.id === `package/${sourceName}`);
  const isMain = main?.source?.name === sourceName && main.version !== undefined;
  return {
    name: sourceName,
    version: (isMain ? (main.version ?? version) : version).replace(/\+b\d+$/, ''),
    isDerived: true,
  };
}

/** What is no version is older than all: then it is told of, rather than passed over. */
function order(left: string, right: string): number {
  if (!isDebVersion(left) || !isDebVersion(right)) return isDebVersion(left) ? 1 : -1;
  return compareDebVersions(left, right);
}

const RANK: Readonly<Record<Urgency, number>> = {
  high: 0,
  medium: 1,
  'not yet assigned': 2,
  low: 3,
  'end-of-life': 4,
  unimportant: 5,
};

function byUrgency(left: AuditFinding, right: AuditFinding): number {
  if (left.urgency !== right.urgency) return RANK[left.urgency] - RANK[right.urgency];
  const key = ({ source, id }: AuditFinding): string => `${source} ${id}`;
  return key(left) < key(right) ? -1 : key(left) > key(right) ? 1 : 0;
}

/** What `--fail-on` counts: rated so or higher; `any` is all but what is rated unimportant. */
export const THRESHOLDS = ['high', 'medium', 'low', 'any'] as const;
export type Threshold = (typeof THRESHOLDS)[number];

export function reaches({ urgency }: AuditFinding, threshold: Threshold): boolean {
  if (threshold === 'any') return urgency !== 'unimportant';
  return URGENCIES.indexOf(urgency) <= URGENCIES.indexOf(threshold);
}

export type NextState =
  /** The next image has a version without it. */
  | 'fixed'
  /** The next image does not have the package. */
  | 'gone'
  | 'open';

export interface ComparedAudit {
  /** In the order of the findings. */
  readonly states: readonly NextState[];
  /** What the next image brings and this one does not have. */
  readonly added: readonly AuditFinding[];
}

/** What becomes of the findings with the next image. */
export function compareAudits(findings: readonly AuditFinding[], next: Bill, after: Audit): ComparedAudit {
  const key = ({ id, source }: AuditFinding): string => `${source} ${id}`;
  const open = new Set(after.findings.map(key));
  const known = new Set(findings.map(key));
  const installed = new Set(auditedSources(next).map(({ name }) => name));
  return {
    states: findings.map((one) =>
      open.has(key(one)) ? 'open' : installed.has(one.source) ? 'fixed' : 'gone',
    ),
    added: after.findings.filter((one) => !known.has(key(one))),
  };
}
