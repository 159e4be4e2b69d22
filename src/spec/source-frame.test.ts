import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { renderFrame } from './source-frame.ts';

describe('renderFrame', () => {
  it('underlines the word at the place', () => {
    expect(renderFrame('name: a\nkernal: cloud\n', 2, 1)).toBe(
      ['  |', '2 | kernal: cloud', '  | ^^^^^^'].join('\n'),
    );
  });

  it('underlines a quoted string with its quotes', () => {
    expect(renderFrame('mode: "09 9" # bits', 1, 7)).toBe(
      ['  |', '1 | mode: "09 9" # bits', '  |       ^^^^^^'].join('\n'),
    );
  });

  it('keeps a colon inside a word', () => {
    expect(renderFrame('run: a:b c', 1, 6)).toContain('|      ^^^\n'.trimEnd());
  });

  it('takes a length', () => {
    expect(renderFrame('base: debian@13', 1, 13, 3).split('\n')[2]).toBe('  |             ^^^');
  });

  it('widens the gutter for large line numbers', () => {
    expect(renderFrame('\n'.repeat(999) + 'x: 1', 1000, 1)).toBe(
      ['     |', '1000 | x: 1', '     | ^'].join('\n'),
    );
  });

  it('aligns under tabs and wide characters', () => {
    expect(renderFrame('\tx: 1', 1, 2)).toBe(['  |', '1 |     x: 1', '  |     ^'].join('\n'));
    expect(renderFrame('日本: yy', 1, 5).split('\n')[2]).toBe('  |       ^^');
  });

  it('never passes control characters on', () => {
    expect(renderFrame('a: \u001b[31mred\u202e', 1, 1).replaceAll('\n', '')).not.toMatch(/\p{Cc}|\p{Cf}/u);
  });

  it('points behind the last character and past the last line', () => {
    expect(renderFrame('abc', 1, 4)).toBe(['  |', '1 | abc', '  |    ^'].join('\n'));
    expect(renderFrame('abc', 9, 4)).toBe(['  |', '9 |', '  | ^'].join('\n'));
  });

  it('cuts long lines around the place', () => {
    const [, shown = '', carets = ''] = renderFrame(
      `${'a '.repeat(400)}HERE ${'b '.repeat(400)}`,
      1,
      801,
    ).split('\n');
    expect(shown.length).toBeLessThanOrEqual(110);
    expect(shown.slice(carets.indexOf('^'), carets.lastIndexOf('^') + 1)).toBe('HERE');
  });

  it('always gives three lines of bounded width', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.nat(5), fc.nat(300), fc.nat(300), (text, l, c, n) => {
        const lines = renderFrame(text, l, c, n).split('\n');
        expect(lines).toHaveLength(3);
        for (const line of lines) expect(line.length).toBeLessThan(700);
      }),
    );
  });
});
