/** The matrix as one page. What a colour says a word says too. */
import type { Matrix, MatrixCell, MatrixRow, MatrixTable } from '../resolve/fit/matrix.ts';
import { escapeHtml, renderPage } from './html-page.ts';
import { letterOf } from './render-explain.ts';

export interface MatrixPage {
  readonly name: string;
  /** Such as `judged by the facts alone, on 2026-11-22`. */
  readonly basis: string;
  /** Version of the facts. */
  readonly facts: string;
  readonly matrix: Matrix;
}

const WORDS = { yes: 'yes', limit: 'limit', no: 'no' } as const;

const STYLE = `
:root { --yes: #d8f0de; --yes-ink: #0d4a21; --limit: #fdeec4; --limit-ink: #5c4200; --no: #f6f0f0; --no-ink: #86303a; }
@media (prefers-color-scheme: dark) { :root { --yes: #14391f; --yes-ink: #b3ecc4; --limit: #43340c; --limit-ink: #fbe09a;
  --no: #261b1d; --no-ink: #f0a9b0; } }
th, td { text-align: center; white-space: nowrap; }
tbody th { position: sticky; left: 0; background: var(--paper); text-align: left; font-weight: 500; border-right: 1px solid var(--line); }
tbody th small { display: block; color: var(--soft); font-weight: 400; }
tr.chosen th { box-shadow: inset 4px 0 0 var(--mark); }
td.yes { background: var(--yes); color: var(--yes-ink); } td.limit { background: var(--limit); color: var(--limit-ink); }
td.no { background: var(--no); color: var(--no-ink); } td a { color: inherit; }
ol { padding-left: 1.5rem; } li { margin-bottom: .375rem; } li:target { outline: 2px solid var(--mark); outline-offset: 4px; }
`;

export function renderMatrixPage({ name, basis, facts, matrix }: MatrixPage): string {
  const { columns, tables, rules } = matrix;
  const letters = new Map(rules.map(({ id }, index) => [id, letterOf(index)]));
  const notes = rules.map(
    ({ id, statement }) =>
      `<li id="rule-${escapeHtml(id)}">${escapeHtml(statement)} <code>${escapeHtml(id)}</code></li>`,
  );
  return renderPage({
    title: `${name}: what fits together`,
    style: STYLE,
    body: `<p class="soft">Drivers by CUDA and runtimes, ${escapeHtml(basis)}.</p>
<p>Each cell says whether the pair works: <strong>yes</strong>, with a <strong>limit</strong>, or <strong>no</strong>. A letter names the rule behind it, below. The driver that is chosen has a bar beside it.</p>
${tables.map((table, index) => renderTable(table, columns, letters, index)).join('\n')}
${notes.length === 0 ? '' : `<h2 id="rules">Rules</h2>\n<ol type="a">\n${notes.join('\n')}\n</ol>`}
<p class="soft">Version of the facts: <code>${escapeHtml(facts)}</code></p>`,
  });
}

function renderTable(
  { gpu, product, rows }: MatrixTable,
  columns: readonly string[],
  letters: ReadonlyMap<string, string>,
  index: number,
): string {
  const title = product === '' || product === gpu ? gpu : `${gpu}: ${product}`;
  const head = columns.map((column) => `<th scope="col">${escapeHtml(column)}</th>`).join('');
  return `<h2 id="gpu-${index}">${escapeHtml(title)}</h2>
<div class="scroll" role="region" aria-labelledby="gpu-${index}" tabindex="0">
<table>
<caption class="hidden">Drivers for ${escapeHtml(title)}</caption>
<thead><tr><th scope="col">Driver</th>${head}</tr></thead>
<tbody>
${rows.map((row) => renderRow(row, letters)).join('\n')}
</tbody>
</table>
</div>`;
}

function renderRow(
  { driver, support, isChosen, cells }: MatrixRow,
  letters: ReadonlyMap<string, string>,
): string {
  const mark = isChosen ? ' <span class="hidden">(chosen)</span>' : '';
  const head = `<th scope="row">${escapeHtml(driver)}${mark}<small>${escapeHtml(support)}</small></th>`;
  return `<tr${isChosen ? ' class="chosen"' : ''}>${head}${cells.map((cell) => renderCell(cell, letters)).join('')}</tr>`;
}

function renderCell({ verdict, message, rule }: MatrixCell, letters: ReadonlyMap<string, string>): string {
  const letter = letters.get(rule ?? '');
  const title = message === undefined ? '' : ` title="${escapeHtml(message)}"`;
  const link =
    letter === undefined
      ? ''
      : ` <a href="#rule-${escapeHtml(rule ?? '')}" aria-label="rule ${letter}">${letter}</a>`;
  return `<td class="${verdict}"${title}>${WORDS[verdict]}${link}</td>`;
}
