/** A bill as a person reads it. Names come from packages that anybody may have made. */
import type { Bill, Component } from '../../sbom/bill.ts';
import type { BillDifference } from '../../sbom/compare-bills.ts';
import { licencesOf } from '../../sbom/select-components.ts';
import { formatCount, formatTable } from '../../report/format.ts';
import type { Palette } from '../../report/palette.ts';
import { printableName } from '../../report/printable.ts';

const LICENCE_WIDTH = 60;

export function renderBill(bill: Bill, shown: readonly Component[], palette: Palette): string {
  const { subject, components, gaps } = bill;
  const rows = shown.map((one) => [
    printableName(one.name),
    printableName(one.version ?? ''),
    one.kind,
    one.layer ?? '',
    shortened(printableName(licencesOf(one).join(', '))),
  ]);
  const columns = [
    { title: 'NAME' },
    { title: 'VERSION' },
    { title: 'KIND' },
    { title: 'LAYER' },
    { title: 'LICENCES' },
  ];
  const all = formatCount(components.length, 'component');
  return [
    formatTable(columns, rows),
    '',
    `${printableName(`${subject.name} ${subject.version}`)}: ${shown.length === components.length ? all : `${shown.length} of ${all}`}`,
    ...(subject.digest === undefined ? [] : [subject.digest]),
    ...gaps.map((gap) => palette.faint(`Not told: ${printableName(gap)}.`)),
  ].join('\n');
}

export function renderBillDifference({ added, removed, changed }: BillDifference, palette: Palette): string {
  if (added.length + removed.length + changed.length === 0) return palette.success('They are the same.');
  const line = (sign: string, { name, version = '' }: Component): string =>
    printableName(`  ${sign} ${name} ${version}`.trimEnd());
  const blocks = [
    added.length === 0 ? [] : [palette.strong('Added'), ...added.map((one) => line('+', one))],
    removed.length === 0 ? [] : [palette.strong('Removed'), ...removed.map((one) => line('-', one))],
    changed.length === 0
      ? []
      : [
          palette.strong('Changed'),
          ...changed.flatMap(({ name, changes }) => [
            `  ${printableName(name)}`,
            ...changes.map(({ field, from, to }) => `      ${field}: ${shown(from)} → ${shown(to)}`),
          ]),
        ],
  ];
  return blocks
    .filter((lines) => lines.length > 0)
    .map((lines) => lines.join('\n'))
    .join('\n\n');
}

function shown(text: string): string {
  return shortened(printableName(text));
}

function shortened(text: string): string {
  return text.length <= LICENCE_WIDTH ? text : `${text.slice(0, LICENCE_WIDTH - 1)}…`;
}
