/** The shapes that catalogue output is made of, for a width of 100 columns. */
import { wrapText } from '../../report/format.ts';

export const WIDTH = 100;

/** Wrapped lines, indented. */
export function paragraph(text: string, indent = 0): string[] {
  return wrapText(text, WIDTH - indent).map((line) => ' '.repeat(indent) + line);
}

/** Labels in a column, values wrapped beside them; a value that is not there has no line. */
export function section(
  rows: readonly (readonly [label: string, value: string | undefined])[],
  indent = 2,
): string[] {
  const shown = rows.filter((row): row is [string, string] => row[1] !== undefined && row[1] !== '');
  const width = Math.max(...shown.map(([label]) => label.length)) + 2;
  return shown.flatMap(([label, value]) =>
    wrapText(value, WIDTH - indent - width).map((line, index) =>
      (' '.repeat(indent) + (index === 0 ? label : '').padEnd(width) + line).trimEnd(),
    ),
  );
}

/** `a, b, c and 4 more`. */
export function shownList(words: readonly string[], most: number): string {
  if (words.length <= most) return words.join(', ');
  return `${words.slice(0, most).join(', ')} and ${words.length - most} more`;
}
