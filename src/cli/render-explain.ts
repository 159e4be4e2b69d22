/** What the solver chose and why, as text. */
import { formatTable, wrapText } from '../report/format.ts';
import type { Alternative } from '../resolve/fit/alternatives.ts';
import type { ChoiceExplanation, Explanation } from '../resolve/fit/explain.ts';
import type { Matrix, MatrixCell } from '../resolve/fit/matrix.ts';

const WIDTH = 100;
const INDENT = '    ';

/** Headline, then every choice with its reasons and what else was possible. */
export function renderExplanation(
  name: string,
  { fit, byFacts }: Explanation,
  choices: readonly ChoiceExplanation[],
): string {
  const lines = [headline(name, fit.verdict)];
  for (const choice of choices) {
    const title = choice.topic === 'gpus' ? `gpu ${choice.name}` : choice.name;
    lines.push('', `${title}: ${choice.value}`);
    for (const reason of choice.reasons) lines.push(...item(reason));
    lines.push(...alternatives(choice.alternatives));
  }
  if (byFacts !== undefined) {
    lines.push(
      '',
      ...wrapText(
        `No configured source has what would fit. By the facts alone it is ${byFacts}; see --facts.`,
        WIDTH,
      ),
    );
  }
  return `${lines.join('\n')}\n`;
}

function headline(name: string, verdict: Explanation['fit']['verdict']): string {
  switch (verdict) {
    case 'ok':
      return `${name}: everything fits`;
    case 'warning':
      return `${name}: it fits, with limits`;
    case 'refused':
      return `${name}: it does not fit`;
  }
}

function item(text: string, mark = '-'): string[] {
  return wrapText(text, WIDTH - INDENT.length).map((line, index) => `  ${index === 0 ? mark : ' '} ${line}`);
}

function alternatives(list: readonly Alternative[]): string[] {
  const refused = list.filter(({ verdict }) => verdict === 'refused');
  const others = list.filter(({ verdict }) => verdict !== 'refused');
  return [
    ...group(
      'also possible',
      others.filter(({ reasons }) => reasons.length === 0),
    ),
    ...group(
      'possible with limits',
      others.filter(({ reasons }) => reasons.length > 0),
    ),
    ...group('not possible', refused),
  ];
}

/** What speaks against several is said once. */
function group(title: string, list: readonly Alternative[]): string[] {
  if (list.length === 0) return [];
  const groups = Map.groupBy(list, ({ reasons }) => reasons.join('; '));
  return [
    `  ${title}:`,
    ...[...groups].flatMap(([reason, ones]) => {
      const values = ones.map(({ value }) => value).join(', ');
      return item(reason === '' ? values : `${values}: ${reason}`, ' ');
    }),
  ];
}

/** One table per GPU. Letters refer to the rules below; drivers for which nothing works are named in one line. */
export function renderMatrix({ columns, tables, rules }: Matrix): string {
  const letters = new Map(rules.map(({ id }, index) => [id, letterOf(index)]));
  const heads = [
    'DRIVER',
    'SUPPORT',
    ...columns.map((column, index) => shorter(column, columns[index - 1])),
  ].map((title) => ({ title }));
  const blocks = tables.map(({ gpu, product, rows }) => {
    const title = product === '' || product === gpu ? gpu : `${gpu} (${product})`;
    const hopeless = rows.filter(({ cells }) => cells.every(({ verdict }) => verdict === 'no'));
    const lines = rows
      .filter((row) => !hopeless.includes(row))
      .map(({ driver, support, isChosen, cells }) => [
        `${driver}${isChosen ? ' *' : ''}`,
        support,
        ...cells.map((cell) => cellText(cell, letters)),
      ]);
    const none = hopeless.map(({ driver }) => driver).join(', ');
    return [
      title,
      formatTable(heads, lines),
      ...(none === '' ? [] : wrapText(`nothing on ${none}`, WIDTH)),
    ].join('\n');
  });
  const notes = rules.map(({ id, statement }) => `${letters.get(id) ?? ''}  ${statement} (${id})`);
  const legend = 'yes: works   lim: works with a limit   no: does not work   *: what is chosen';
  return `${[...blocks, [legend, ...notes].join('\n')].join('\n\n')}\n`;
}

/** The first of the CUDA columns says what they are. */
function shorter(column: string, before: string | undefined): string {
  return before?.startsWith('CUDA ') === true ? column.replace(/^CUDA /, '') : column;
}

function cellText({ verdict, rule }: MatrixCell, letters: ReadonlyMap<string, string>): string {
  const letter = letters.get(rule ?? '');
  const word = verdict === 'limit' ? 'lim' : verdict;
  return letter === undefined ? word : `${word} ${letter}`;
}

/** a, b, … z, aa, ab. */
export function letterOf(index: number): string {
  const letter = String.fromCharCode(97 + (index % 26));
  return index < 26 ? letter : `${letterOf(Math.floor(index / 26) - 1)}${letter}`;
}
