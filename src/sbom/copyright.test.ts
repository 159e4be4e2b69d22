import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { parseCopyright } from './copyright.ts';
import { type Expression, parseLicenceExpression, renderExpression } from './licence-expression.ts';
import { spdxIdOf } from './licence-names.ts';

const HEADER = 'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n';

function expressionOf(...licences: readonly string[]): string | undefined {
  const stanzas = licences.map(
    (licence, at) => `Files: part${at}/*\nCopyright: someone\nLicense: ${licence}\n`,
  );
  return parseCopyright([HEADER, ...stanzas].join('\n'))?.expression;
}

describe('licences of a copyright file', () => {
  it.each([
    ['Expat', 'MIT'],
    ['expat', 'MIT'],
    ['GPL-2', 'GPL-2.0-only'],
    ['GPL-2+', 'GPL-2.0-or-later'],
    ['GPL-2.0-or-later', 'GPL-2.0-or-later'],
    ['LGPL-2.1+', 'LGPL-2.1-or-later'],
    ['AGPL-3', 'AGPL-3.0-only'],
    ['GFDL-NIV-1.3+', 'GFDL-1.3-no-invariants-or-later'],
    ['BSD-3-clause', 'BSD-3-Clause'],
    ['CC-BY-SA-4.0', 'CC-BY-SA-4.0'],
    ['CC0', 'CC0-1.0'],
    ['GPL-2+ or Expat', 'GPL-2.0-or-later OR MIT'],
    ['ISC or Expat and Zlib', 'ISC OR MIT AND Zlib'],
    ['ISC or Expat, and Zlib', '(ISC OR MIT) AND Zlib'],
    ['ISC and Expat, or Zlib', 'ISC AND MIT OR Zlib'],
  ])('%s is %s', (name, expression) => {
    expect(expressionOf(name)).toBe(expression);
  });

  it.each([
    'MIT',
    'Artistic',
    'Perl',
    'BSD',
    'GPL',
    'GPL-4',
    'LGPL-9+',
    'GPL-2+ with OpenSSL exception',
    'public-domain',
  ])('of %s are not guessed', (name) => {
    expect(expressionOf(name)).toMatch(/^LicenseRef-[A-Za-z0-9.-]+-[0-9a-f]{8}$/);
  });

  it('are those of all files, each once', () => {
    expect(expressionOf('GPL-2+', 'Expat', 'GPL-2+')).toBe('GPL-2.0-or-later AND MIT');
    expect(expressionOf('GPL-2+ or ISC', 'Expat')).toBe('(GPL-2.0-or-later OR ISC) AND MIT');
  });

  it('keep a text that SPDX has no name for, from wherever it stands', () => {
    const file = `${HEADER}\nFiles: *\nCopyright: x\nLicense: house-rules\n\nLicense: house-rules\n One may.\n .\n One may not.\n`;
    const licence = parseCopyright(file);
    expect(licence?.custom).toEqual([
      { id: licence?.expression, name: 'house-rules', text: 'One may.\n\nOne may not.' },
    ]);
    // Another text by the same name is another licence.
    expect(parseCopyright(file.replace('One may.', 'None may.'))?.expression).not.toBe(licence?.expression);
  });

  it('of a text that no program is to read are not claimed', () => {
    expect(
      parseCopyright('This package was debianized by Someone. It is under the GPL-2+.\n'),
    ).toBeUndefined();
    expect(parseCopyright('Format: https://example.com/\nLicense: GPL-2+\n')).toBeUndefined();
    expect(parseCopyright(`${HEADER}\nFiles: *\nCopyright: x\n`)).toBeUndefined();
    expect(parseCopyright('')).toBeUndefined();
  });

  it('are the header’s when no files have any', () => {
    expect(parseCopyright(`${HEADER}License: Zlib\n`)?.expression).toBe('Zlib');
  });

  it('are an expression that SPDX can read, whatever the file says', () => {
    const word = fc.oneof(
      fc.constantFrom('and', 'or', ',', 'GPL-2+', 'Expat', 'with', 'x exception'),
      fc.string(),
    );
    fc.assert(
      fc.property(fc.array(word, { minLength: 1, maxLength: 8 }), (words) => {
        const text = words.join(' ').replaceAll(/\s+/g, ' ').trim();
        fc.pre(text !== '');
        const expression = expressionOf(text);
        if (expression === undefined) return;
        const id = String.raw`\(?[A-Za-z0-9.-]+\)?`;
        expect(expression).toMatch(new RegExp(`^${id}(?: (?:AND|OR) ${id})*$`));
      }),
    );
  });
});

describe('expressions', () => {
  it('need no more brackets than SPDX asks for', () => {
    const [a, b, c] = (['A', 'B', 'C'] as const).map((name) => ({ kind: 'name' as const, name }));
    if (a === undefined || b === undefined || c === undefined) throw new TypeError('three names');
    const text = (expression: Expression): string => renderExpression(expression, (name) => name);
    expect(text({ kind: 'or', parts: [{ kind: 'and', parts: [a, b] }, c] })).toBe('A AND B OR C');
    expect(text({ kind: 'and', parts: [{ kind: 'or', parts: [a, b] }, c] })).toBe('(A OR B) AND C');
  });

  it('are not made of what has no operator between names', () => {
    expect(parseLicenceExpression('GPL-2 Expat')).toBeUndefined();
    expect(parseLicenceExpression('GPL-2, Expat')).toBeUndefined();
    expect(parseLicenceExpression('GPL-2 and')).toBeUndefined();
  });

  it('know no GNU licence that there is not', () => {
    expect(spdxIdOf('GPL-2.1')).toBeUndefined();
    expect(spdxIdOf('LGPL-1')).toBeUndefined();
  });
});
