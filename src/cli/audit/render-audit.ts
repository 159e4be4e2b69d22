/** What an audit found, as a person reads it. */
import type { Audit, AuditFinding, ComparedAudit, NextState } from '../../audit/audit.ts';
import { formatCount, formatTable } from '../../report/format.ts';
import type { Palette } from '../../report/palette.ts';
import { printableName } from '../../report/printable.ts';
import type { AdvisoryData } from './read-advisories.ts';

export interface RenderedAudit {
  readonly audit: Audit;
  readonly data: AdvisoryData;
  /** Whole days since the data was made. */
  readonly age: number;
  readonly release: string;
  readonly compared?: ComparedAudit | undefined;
}

const NEXT: Readonly<Record<NextState, string>> = { fixed: 'mended', gone: 'gone', open: 'still there' };

export function renderAudit(
  { audit, data, age, release, compared }: RenderedAudit,
  palette: Palette,
): string {
  const { findings, undetermined, sources, gaps } = audit;
  const columns = [
    { title: 'ISSUE' },
    { title: 'SOURCE' },
    { title: 'VERSION' },
    { title: 'MENDED IN' },
    { title: 'URGENCY' },
    ...(compared === undefined ? [] : [{ title: 'NEXT' }]),
  ];
  const rowOf = (finding: AuditFinding, next: string): string[] => [
    printableName(finding.id),
    printableName(finding.source),
    finding.version,
    mendedIn(finding),
    finding.urgency,
    ...(compared === undefined ? [] : [next]),
  ];
  const rows = [
    ...findings.map((one, index) => rowOf(one, NEXT[compared?.states[index] ?? 'open'])),
    ...(compared?.added ?? []).map((one) => rowOf(one, 'new')),
  ];
  const mendable = findings.filter(({ fixed }) => fixed !== undefined).length;
  const head =
    findings.length === 0
      ? palette.success(`Nothing known is open in ${formatCount(sources, 'source package')}.`)
      : `${formatCount(findings.length, 'issue')} in ${formatCount(sources, 'source package')}; newer versions in ${release} mend ${mendable}.`;
  return [
    ...(rows.length === 0 ? [] : [formatTable(columns, rows), '']),
    head,
    ...(compared === undefined ? [] : [nextText(compared)]),
    ...(undetermined === 0
      ? []
      : [palette.faint(`Of ${undetermined} more, nobody has said yet whether they matter.`)]),
    palette.faint(
      `Data of ${data.from.slice(0, 10)} (${ageText(age)}), ${data.format === 'osv' ? 'OSV' : 'Debian’s security tracker'}.`,
    ),
    ...gaps.map((gap) => palette.faint(`Not told: ${printableName(gap)}.`)),
  ].join('\n');
}

function mendedIn({ fixed, fixedInSid, postponed }: AuditFinding): string {
  if (fixed !== undefined) return fixed;
  if (fixedInSid !== undefined) return `(sid: ${fixedInSid})`;
  return postponed === undefined ? '' : printableName(`(${postponed})`);
}

function nextText({ states, added }: ComparedAudit): string {
  const mended = states.filter((state) => state !== 'open').length;
  return `The next image mends ${mended} of ${states.length}, and brings ${added.length === 0 ? 'none' : formatCount(added.length, 'new one')}.`;
}

function ageText(days: number): string {
  return days < 1 ? 'today' : `${formatCount(days, 'day')} old`;
}
