/**
 * A place in a text file, drawn for a terminal:
 *
 *      |
 *   12 | kernal: cloud
 *      | ^^^^^^
 */

const TAB = '    ';
const MAX_WIDTH = 100;
const CONTEXT_BEFORE = 60;

/**
 * Draws the line with a caret line under the offending words. Control characters of the file never reach the
 * terminal; a very long line is cut around the place.
 *
 * @param line 1-based; a line past the end draws as empty
 * @param column 1-based, in UTF-16 code units, as parsers count
 * @param length code units to underline; default: the word, quoted or plain, that starts at the column
 * @returns lines joined by a newline, without one at the end
 */
export function renderFrame(text: string, line: number, column: number, length?: number): string {
  const source = text.replace(/^\uFEFF/, '').split(/\r\n|\r|\n/)[line - 1] ?? '';
  const start = Math.min(Math.max(column - 1, 0), source.length);
  const end = Math.min(start + Math.max(length ?? wordLengthAt(source, start), 1), source.length);

  let before = printable(source.slice(0, start));
  const marked = printable(source.slice(start, end));
  let after = printable(source.slice(end));
  if (widthOf(before) > CONTEXT_BEFORE && widthOf(before + marked + after) > MAX_WIDTH) {
    before = `…${takeLast(before, CONTEXT_BEFORE - 1)}`;
  }
  const markedShown = takeFirst(marked, MAX_WIDTH - widthOf(before));
  after = markedShown === marked ? takeFirst(after, MAX_WIDTH - widthOf(before + marked)) : '';

  const number = String(line);
  const gutter = ' '.repeat(number.length);
  const carets = '^'.repeat(Math.max(widthOf(markedShown), 1));
  return [
    `${gutter} |`,
    `${number} | ${before}${markedShown}${after}`.trimEnd(),
    `${gutter} | ${' '.repeat(widthOf(before))}${carets}`,
  ].join('\n');
}

/** Length of the YAML word at an offset: a quoted string with its quotes, or up to the next punctuation. */
function wordLengthAt(source: string, start: number): number {
  const rest = source.slice(start);
  const word =
    /^"(?:[^"\\]|\\.)*"|^'(?:[^']|'')*'/.exec(rest)?.[0] ??
    // A plain scalar: a colon belongs to it unless white space or the end follows.
    /^(?:[^\s:,[\]{}#]|:(?=\S))+/.exec(rest)?.[0];
  return word?.length ?? 1;
}

function printable(text: string): string {
  return text
    .replaceAll('\t', TAB)
    .replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, '\uFFFD')
    .toWellFormed();
}

function takeFirst(text: string, width: number): string {
  if (widthOf(text) <= width) return text;
  let taken = '';
  for (const character of text) {
    if (widthOf(taken + character) >= width) break;
    taken += character;
  }
  return `${taken}…`;
}

function takeLast(text: string, width: number): string {
  let taken = '';
  for (const character of Array.from(text).reverse()) {
    if (widthOf(character + taken) > width) break;
    taken = character + taken;
  }
  return taken;
}

/** Terminal columns: combining marks take none, East Asian wide characters and emoji two. */
function widthOf(text: string): number {
  let width = 0;
  for (const character of text) {
    if (/\p{M}/u.test(character)) continue;
    width +=
      /[\u1100-\u115F\u2E80-\u303E\u3041-\uA4CF\uAC00-\uD7A3\uF900-\uFAFF\uFE30-\uFE6F\uFF01-\uFF60\uFFE0-\uFFE6]|\p{Emoji_Presentation}/u.test(
        character,
      )
        ? 2
        : 1;
  }
  return width;
}
