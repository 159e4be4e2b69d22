/**
 * The matrix as one page that needs nothing else: readable on a phone, in light and dark, on paper, and without
 * colours or a mouse. What a colour says a word says too.
 */
import type { Matrix, MatrixCell, MatrixRow, MatrixTable } from '../resolve/fit/matrix.ts';
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
:root { color-scheme: light dark; --ink: #1a1c20; --paper: #ffffff; --soft: #5b616b; --line: #d5d9df; --head: #f3f5f8;
  --yes: #d8f0de; --yes-ink: #0d4a21; --limit: #fdeec4; --limit-ink: #5c4200; --no: #f6f0f0; --no-ink: #86303a; --mark: #1f5fbf; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7e9ed; --paper: #14161a; --soft: #a2a9b5; --line: #353a43; --head: #1d2026;
  --yes: #14391f; --yes-ink: #b3ecc4; --limit: #43340c; --limit-ink: #fbe09a; --no: #261b1d; --no-ink: #f0a9b0; --mark: #8ab8ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.25rem; max-width: 76rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.125rem; margin: 2rem 0 .5rem; }
p { margin: 0 0 .75rem; } .soft { color: var(--soft); }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: .5rem; }
.scroll:focus-visible, a:focus-visible { outline: 3px solid var(--mark); outline-offset: 2px; }
table { border-collapse: separate; border-spacing: 0; width: 100%; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: .625rem .75rem; font-weight: 600; }
th, td { padding: .4rem .625rem; border-top: 1px solid var(--line); text-align: center; white-space: nowrap; }
thead th { background: var(--head); font-size: .8125rem; }
tbody th { position: sticky; left: 0; background: var(--paper); text-align: left; font-weight: 500; border-right: 1px solid var(--line); }
tbody th small { display: block; color: var(--soft); font-weight: 400; }
tr.chosen th { box-shadow: inset 4px 0 0 var(--mark); }
td.yes { background: var(--yes); color: var(--yes-ink); } td.limit { background: var(--limit); color: var(--limit-ink); }
td.no { background: var(--no); color: var(--no-ink); } td a { color: inherit; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
ol { padding-left: 1.5rem; } li { margin-bottom: .375rem; } li:target { outline: 2px solid var(--mark); outline-offset: 4px; }
code { font-family: ui-monospace, monospace; font-size: .875em; overflow-wrap: anywhere; }
@media print { .scroll { overflow: visible; } body { max-width: none; } }
`;

export function renderMatrixPage({ name, basis, facts, matrix }: MatrixPage): string {
  const { columns, tables, rules } = matrix;
  const letters = new Map(rules.map(({ id }, index) => [id, letterOf(index)]));
  const notes = rules.map(
    ({ id, statement }) => `<li id="rule-${escape(id)}">${escape(statement)} <code>${escape(id)}</code></li>`,
  );
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escape(name)}: what fits together</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>${escape(name)}: what fits together</h1>
<p class="soft">Drivers by CUDA and runtimes, ${escape(basis)}.</p>
<p>Each cell says whether the pair works: <strong>yes</strong>, with a <strong>limit</strong>, or <strong>no</strong>. A letter names the rule behind it, below. The driver that is chosen has a bar beside it.</p>
${tables.map((table, index) => renderTable(table, columns, letters, index)).join('\n')}
${notes.length === 0 ? '' : `<h2 id="rules">Rules</h2>\n<ol type="a">\n${notes.join('\n')}\n</ol>`}
<p class="soft">Version of the facts: <code>${escape(facts)}</code></p>
</main>
</body>
</html>
`;
}

function renderTable(
  { gpu, product, rows }: MatrixTable,
  columns: readonly string[],
  letters: ReadonlyMap<string, string>,
  index: number,
): string {
  const title = product === '' || product === gpu ? gpu : `${gpu}: ${product}`;
  const head = columns.map((column) => `<th scope="col">${escape(column)}</th>`).join('');
  return `<h2 id="gpu-${index}">${escape(title)}</h2>
<div class="scroll" role="region" aria-labelledby="gpu-${index}" tabindex="0">
<table>
<caption class="hidden">Drivers for ${escape(title)}</caption>
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
  const head = `<th scope="row">${escape(driver)}${mark}<small>${escape(support)}</small></th>`;
  return `<tr${isChosen ? ' class="chosen"' : ''}>${head}${cells.map((cell) => renderCell(cell, letters)).join('')}</tr>`;
}

function renderCell({ verdict, message, rule }: MatrixCell, letters: ReadonlyMap<string, string>): string {
  const letter = letters.get(rule ?? '');
  const title = message === undefined ? '' : ` title="${escape(message)}"`;
  const link =
    letter === undefined
      ? ''
      : ` <a href="#rule-${escape(rule ?? '')}" aria-label="rule ${letter}">${letter}</a>`;
  return `<td class="${verdict}"${title}>${WORDS[verdict]}${link}</td>`;
}

function escape(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
