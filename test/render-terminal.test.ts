import { expect, test } from 'vitest';

import { parseTerminal, renderTerminal } from '../scripts/render-terminal.ts';

test('styles go on until they are ended, and columns count what is seen', () => {
  expect(parseTerminal('\u001B[1;31merror\u001B[0m: ✔ \u001B[2mfaint\nstill\u001B[22m not')).toEqual([
    [
      { text: 'error', column: 0, color: 31, bold: true },
      { text: ': ✔ ', column: 5 },
      { text: 'faint', column: 9, faint: true },
    ],
    [
      { text: 'still', column: 0, faint: true },
      { text: ' not', column: 5 },
    ],
  ]);
});

test('other sequences and unknown codes leave no trace', () => {
  expect(parseTerminal('\u001B[2Ka\u001B[38mb\u001B(B')).toEqual([
    [
      { text: 'a', column: 0 },
      { text: 'b', column: 1 },
    ],
  ]);
});

test('the picture holds the text, escaped, at its columns', () => {
  const svg = renderTerminal('\n\n$ a <b> & c\n\n  \u001B[32m✔  done\u001B[39m\n\n', 'Two <lines>');
  expect(svg).toContain('<title>Two &lt;lines&gt;</title>');
  expect(svg).toContain('<tspan x="16" textLength="88">$ a &lt;b&gt; &amp; c</tspan>');
  expect(svg).toContain('<tspan x="32" textLength="56" fill="#3fb950">✔\u00A0\u00A0done</tspan>');
  // Three lines: empty ones at the ends are cut, the one between stays.
  expect(svg).toContain(`height="${3 * 18 + 2 * 16}"`);
});
