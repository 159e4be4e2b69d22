/** A difference as a page: what it means, a map of what is pulled, and tables of everything else. */
import type { AccountDifference } from '../../compare/compare-accounts.ts';
import type { ImageDifference } from '../../compare/compare-images.ts';
import type { PackageDifference } from '../../compare/compare-packages.ts';
import { formatBytes, formatCount } from '../../report/format.ts';
import { createPalette } from '../../report/palette.ts';
import { printableName } from '../../report/printable.ts';
import { escapeHtml, renderPage } from '../html-page.ts';
import { describeChange, groupFiles } from './file-groups.ts';
import { summaryRows, titleOf } from './render-diff.ts';
import { renderTreemap, TREEMAP_STYLE, type TreemapGroup } from './treemap-svg.ts';

const SHOWN_FILES = 5000;

const STYLE = `${TREEMAP_STYLE}
:root { --plus: #0d6b2c; --minus: #a3232f; --warn: #7a5600; }
@media (prefers-color-scheme: dark) { :root { --plus: #86dca0; --minus: #ff9aa3; --warn: #f3cf72; } }
th, td { text-align: left; vertical-align: top; overflow-wrap: break-word; }
td.number, th.number { text-align: right; white-space: nowrap; }
td.mark { width: 1%; white-space: nowrap; font-weight: 600; }
tr.plus td.mark { color: var(--plus); } tr.minus td.mark { color: var(--minus); } tr.warn td.mark { color: var(--warn); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.25rem; margin: 1rem 0; padding: .9rem 1rem; border: 1px solid var(--line); border-radius: .5rem; background: var(--head); }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
details { border: 1px solid var(--line); border-radius: .5rem; margin: 0 0 .5rem; overflow-x: auto; }
summary { padding: .5rem .75rem; cursor: pointer; } details table { border-top: 0; }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .5rem; } }
`;

export function renderDifferencePage(difference: ImageDifference): string {
  const { from, to, isSame, untold } = difference;
  const sources = [from, to].map(({ shown, digest }, index) => {
    const which = index === 0 ? 'From' : 'To';
    return `<p class="soft">${which} <code>${say(shown)}</code>${digest === undefined ? '' : `, <code>${digest}</code>`}</p>`;
  });
  const rows = summaryRows(difference, createPalette(false)).map(
    ([title, text]) => `<dt>${say(title)}</dt><dd>${say(text.trim())}</dd>`,
  );
  const parts = [
    ...sources,
    isSame ? '<p><strong>They are the same.</strong></p>' : `<dl>${rows.join('\n')}</dl>`,
    mapSection(difference),
    packageSection(difference.packages),
    listSection('Kernel arguments', difference.kernelArguments),
    unitSection(difference),
    accountSection('Users', difference.users),
    accountSection('Groups', difference.groups),
    fileSection(difference),
    ...untold.map((text) => `<p class="soft">Not told: ${say(text)}.</p>`),
  ];
  return renderPage({
    title: `${titleOf(from)} → ${titleOf(to)}`,
    style: STYLE,
    body: parts.filter((part) => part !== '').join('\n'),
  });
}

function say(text: string): string {
  return escapeHtml(printableName(text));
}

interface Row {
  readonly mark: '+' | '-' | '~';
  readonly warn?: boolean;
  /** HTML. */
  readonly cells: readonly string[];
}

const WORDS = { '+': 'added', '-': 'removed', '~': 'changed' } as const;

function table(id: string, columns: readonly string[], rows: readonly Row[]): string {
  const head = ['', ...columns].map((column, index) =>
    index === 0
      ? '<th scope="col"><span class="hidden">Change</span></th>'
      : `<th scope="col">${escapeHtml(column)}</th>`,
  );
  const body = rows.map(({ mark, warn = false, cells }) => {
    const kind = warn ? 'warn' : mark === '+' ? 'plus' : mark === '-' ? 'minus' : '';
    const sign = `<span aria-hidden="true">${mark === '-' ? '−' : mark}</span><span class="hidden">${WORDS[mark]}</span>`;
    return `<tr${kind === '' ? '' : ` class="${kind}"`}><td class="mark">${sign}</td>${cells.map((cell) => `<td>${cell}</td>`).join('')}</tr>`;
  });
  return `<div class="scroll" role="region" aria-labelledby="${id}" tabindex="0">
<table><thead><tr>${head.join('')}</tr></thead>
<tbody>
${body.join('\n')}
</tbody></table>
</div>`;
}

function section(id: string, title: string, content: string): string {
  return `<h2 id="${id}">${escapeHtml(title)}</h2>\n${content}`;
}

/** Of images the blobs that are pulled; of locks the files of packages that a build would need anew. */
function mapSection({ pull, packages }: ImageDifference): string {
  if (pull === undefined) {
    const fresh = [...(packages?.added ?? []), ...(packages?.changed ?? [])];
    const bytes = fresh.reduce((sum, item) => sum + (item.bytes ?? 0), 0);
    if (bytes === 0) return '';
    const cells = fresh.map((item) => ({ name: item.name, bytes: item.bytes ?? 0, fresh: item.bytes ?? 0 }));
    const title = `${formatCount(fresh.length, 'package file')} to fetch for a build, ${formatBytes(bytes)}`;
    const group = { name: 'packages', bytes, cells };
    return section(
      'map',
      title,
      renderTreemap([group], { title, description: 'Areas are bytes; the table of packages has the same.' }),
    );
  }
  if (pull.bytes === 0) return '';
  const groups = [...pull.blobs]
    .sort((left, right) => right.size - left.size)
    .map(({ layer, chunk, digest, size, shares }): TreemapGroup => {
      const name = [layer ?? digest.slice(7, 19), chunk].filter(Boolean).join('/');
      const cells = shares.map(({ what, bytes, carried }) => ({ name: what, bytes, fresh: bytes - carried }));
      return { name, bytes: size, cells };
    });
  const byDeltas =
    pull.byDeltas === undefined ? '' : ` as whole layers, ${formatBytes(pull.byDeltas.bytes)} by deltas`;
  const title = `What is pulled: ${formatBytes(pull.bytes)}${byDeltas}`;
  const description =
    'Areas are bytes, by layer, and in it by package or folder. The table below has the same.';
  const key = `<ul class="key"><li><span class="fresh"></span>mostly new</li><li><span class="mixed"></span>partly new</li><li><span class="along"></span>the same as before, packed together with something new</li></ul>`;
  const rows = groups.flatMap(({ name, bytes, cells }) => {
    const most = cells
      .slice(0, 4)
      .map((cell) => `${say(cell.name)} ${formatBytes(cell.bytes)}`)
      .join(', ');
    const fresh = cells.reduce((sum, cell) => sum + cell.fresh, 0);
    return [
      `<tr><td>${say(name)}</td><td class="number">${formatBytes(bytes)}</td><td class="number">${cells.length === 0 ? 'not known' : formatBytes(fresh)}</td><td>${most}</td></tr>`,
    ];
  });
  return section(
    'map',
    title,
    `${renderTreemap(groups, { title, description })}
${key}
<h2 id="blobs">Blobs</h2>
<div class="scroll" role="region" aria-labelledby="blobs" tabindex="0">
<table><thead><tr><th scope="col">Layer</th><th scope="col" class="number">To pull</th><th scope="col" class="number">New of it</th><th scope="col">Mostly</th></tr></thead>
<tbody>
${rows.join('\n')}
</tbody></table>
</div>`,
  );
}

function packageSection(packages: PackageDifference | undefined): string {
  const { added = [], removed = [], changed = [] } = packages ?? {};
  const rows: Row[] = [
    ...removed.map(({ name, version }): Row => ({ mark: '-', cells: [say(name), say(version), '', ''] })),
    ...added.map(({ name, version }): Row => ({ mark: '+', cells: [say(name), '', say(version), ''] })),
    ...changed.map(({ name, from, to, direction, security }): Row => {
      const remarks = [
        ...(direction === 'older' ? ['older'] : direction === 'content' ? ['other content'] : []),
        ...(security ? ['security fix'] : []),
      ];
      return {
        mark: '~',
        warn: direction === 'older',
        cells: [say(name), say(from), say(to), remarks.join(', ')],
      };
    }),
  ];
  if (rows.length === 0) return '';
  return section(
    'packages',
    `Packages: ${formatCount(rows.length, 'change')}`,
    table('packages', ['Package', 'From', 'To', 'Remark'], rows),
  );
}

function listSection(title: string, list: ImageDifference['kernelArguments']): string {
  const rows: Row[] = [
    ...(list?.removed ?? []).map((value): Row => ({ mark: '-', cells: [`<code>${say(value)}</code>`] })),
    ...(list?.added ?? []).map((value): Row => ({ mark: '+', cells: [`<code>${say(value)}</code>`] })),
  ];
  return rows.length === 0 ? '' : section('arguments', title, table('arguments', ['Argument'], rows));
}

function unitSection({ units = [] }: ImageDifference): string {
  if (units.length === 0) return '';
  const rows = units.map(({ name, changes }): Row => {
    const [first] = changes;
    return {
      mark: first === 'added' ? '+' : first === 'removed' ? '-' : '~',
      cells: [say(name), changes.join(', ')],
    };
  });
  return section('services', 'Services', table('services', ['Unit', 'What becomes of it'], rows));
}

function accountSection(title: string, accounts: AccountDifference | undefined): string {
  const id = title.toLowerCase();
  const { added = [], removed = [], changed = [] } = accounts ?? {};
  const rows: Row[] = [
    ...removed.map((one): Row => ({ mark: '-', cells: [say(one.name), String(one.id), say(one.rest)] })),
    ...added.map((one): Row => ({ mark: '+', cells: [say(one.name), String(one.id), say(one.rest)] })),
    ...changed.map(({ from, to }): Row => ({
      mark: '~',
      cells: [
        say(to.name),
        from.id === to.id ? String(to.id) : `${from.id} → ${to.id}`,
        from.rest === to.rest
          ? say(to.rest)
          : `${say(from.rest) || 'nothing'} → ${say(to.rest) || 'nothing'}`,
      ],
    })),
  ];
  return rows.length === 0 ? '' : section(id, title, table(id, ['Name', 'Number', 'More'], rows));
}

function fileSection({ files = [] }: ImageDifference): string {
  if (files.length === 0) return '';
  let room = SHOWN_FILES;
  const blocks = groupFiles(files).map(({ title, changes, added, removed, changed }) => {
    const counts = [
      ...(added > 0 ? [`${added} added`] : []),
      ...(removed > 0 ? [`${removed} removed`] : []),
      ...(changed > 0 ? [`${changed} changed`] : []),
    ].join(', ');
    const shown = changes.slice(0, room);
    room -= shown.length;
    const rows = shown.map((change) => {
      const mark = change.change === 'added' ? '+' : change.change === 'removed' ? '-' : '~';
      const size = change.to?.size ?? change.from?.size ?? 0;
      const kind = mark === '+' ? ' class="plus"' : mark === '-' ? ' class="minus"' : '';
      const sign = `<span aria-hidden="true">${mark === '-' ? '−' : mark}</span><span class="hidden">${WORDS[mark]}</span>`;
      return `<tr${kind}><td class="mark">${sign}</td><td><code>/${say(change.path)}</code></td><td>${say(describeChange(change))}</td><td class="number">${formatBytes(size)}</td></tr>`;
    });
    const rest = changes.length - shown.length;
    const note = rest > 0 ? `<p class="soft">${rest} more: <code>ingot diff --json</code> has them.</p>` : '';
    const open = title.startsWith('/') && changes.length <= 8 ? ' open' : '';
    return `<details${open}><summary><strong>${say(title)}</strong> <span class="soft">${counts}</span></summary>
<table><tbody>${rows.join('\n')}</tbody></table>${note}
</details>`;
  });
  return section('files', `Files: ${formatCount(files.length, 'change')}`, blocks.join('\n'));
}
