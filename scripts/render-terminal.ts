/**
 * A picture of a terminal for the documentation: text with colours on stdin, SVG on stdout.
 *
 *   tmux capture-pane -e -p -S - | node scripts/render-terminal.ts TITLE > docs/pictures/NAME.svg
 *
 * Every run of characters says how wide it is, so that columns stay in line whatever font the reader has.
 */
import { readFileSync } from 'node:fs';

interface Style {
  /** SGR number of the colour, 30 to 37 or 90 to 97. */
  readonly color?: number;
  readonly bold?: true;
  readonly faint?: true;
}

export interface Run extends Style {
  readonly text: string;
  /** First column, from 0. */
  readonly column: number;
}

const COLORS: Readonly<Record<number, string>> = {
  30: '#484f58',
  31: '#ff7b72',
  32: '#3fb950',
  33: '#d29922',
  34: '#58a6ff',
  35: '#bc8cff',
  36: '#39c5cf',
  37: '#b1bac4',
  90: '#6e7681',
  91: '#ffa198',
  92: '#56d364',
  93: '#e3b341',
  94: '#79c0ff',
  95: '#d2a8ff',
  96: '#56d4dd',
  97: '#ffffff',
};
const FOREGROUND = '#e6edf3';
const BACKGROUND = '#0d1117';
const FAINT = '#8b949e';
const BORDER = '#30363d';

const CELL_WIDTH = 8;
const LINE_HEIGHT = 18;
/** At which the usual fonts are as wide as a cell by themselves. */
const FONT_SIZE = 13.3;
const BASELINE = 13;
const MARGIN = 16;

/** SGR with its codes, any other escape sequence, or plain text. */
// eslint-disable-next-line no-control-regex -- escape sequences are what this is about
const SEQUENCE = /\u001B\[([0-9;]*)m|\u001B(?:\[[0-9;?]*[@-~]|[()].|.)|([^\u001B]+)/g;

/** Lines of styled runs: SGR sequences become styles, which go on over the end of a line; others are dropped. */
export function parseTerminal(text: string): readonly (readonly Run[])[] {
  let style: Style = {};
  return text.split('\n').map((line) => {
    const runs: Run[] = [];
    let column = 0;
    for (const [, codes, plain] of line.matchAll(SEQUENCE)) {
      if (codes !== undefined) style = applyCodes(style, codes.split(';').map(Number));
      if (plain === undefined) continue;
      runs.push({ ...style, text: plain, column });
      column += Array.from(plain).length;
    }
    return runs;
  });
}

function applyCodes(before: Style, codes: readonly number[]): Style {
  let { color, bold, faint } = before;
  for (const code of codes) {
    if (code === 0) color = bold = faint = undefined;
    else if (code === 1) bold = true;
    else if (code === 2) faint = true;
    else if (code === 22) bold = faint = undefined;
    else if (code === 39) color = undefined;
    else if (code in COLORS) color = code;
  }
  return {
    ...(color !== undefined && { color }),
    ...(bold !== undefined && { bold }),
    ...(faint !== undefined && { faint }),
  };
}

/** `title` is for those who cannot see the picture. */
export function renderTerminal(text: string, title: string): string {
  const lines = parseTerminal(text.replace(/^\n+/, '').trimEnd());
  const columns = Math.max(
    ...lines.flatMap((runs) => runs.map(({ column, text: { length } }) => column + length)),
  );
  const width = columns * CELL_WIDTH + 2 * MARGIN;
  const height = lines.length * LINE_HEIGHT + 2 * MARGIN;
  const rows = lines.flatMap((runs, index) => {
    const y = MARGIN + index * LINE_HEIGHT + BASELINE;
    const spans = runs.flatMap(renderRun).join('');
    return spans === '' ? [] : [`<text y="${y}">${spans}</text>`];
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img">`,
    `<title>${escapeXml(title)}</title>`,
    `<rect x="0.5" y="0.5" width="${width - 1}" height="${height - 1}" rx="8" fill="${BACKGROUND}" stroke="${BORDER}"/>`,
    `<g font-family="ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="${FONT_SIZE}" fill="${FOREGROUND}">`,
    ...rows,
    '</g>',
    '</svg>',
    '',
  ].join('\n');
}

/** Blanks at the ends are left to the position of the next run. */
function renderRun({ text, column, color, bold, faint }: Run): string[] {
  const shown = text.trim();
  if (shown === '') return [];
  const start = column + text.length - text.trimStart().length;
  const fill = color === undefined ? (faint ? FAINT : undefined) : COLORS[color];
  const attributes = [
    `x="${MARGIN + start * CELL_WIDTH}"`,
    `textLength="${Array.from(shown).length * CELL_WIDTH}"`,
    ...(fill === undefined ? [] : [`fill="${fill}"`]),
    ...(bold ? ['font-weight="bold"'] : []),
  ];
  // A second space would be taken for none.
  return [`<tspan ${attributes.join(' ')}>${escapeXml(shown).replaceAll('  ', '\u00A0\u00A0')}</tspan>`];
}

function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

if (import.meta.main) {
  process.stdout.write(renderTerminal(readFileSync(0, 'utf8'), process.argv[2] ?? 'Terminal'));
}
