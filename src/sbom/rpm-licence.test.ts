import { expect, test } from 'vitest';

import { parseRpmLicence } from './rpm-licence.ts';

test.each([
  ['MIT', 'MIT'],
  ['GPL-2.0-or-later  AND (MIT OR BSD-3-Clause)', 'GPL-2.0-or-later AND (MIT OR BSD-3-Clause)'],
  ['GPL-3.0-or-later WITH GCC-exception-3.1 AND Zlib', 'GPL-3.0-or-later WITH GCC-exception-3.1 AND Zlib'],
  ['Apache-2.0+', 'Apache-2.0+'],
  ...['', 'GPLv2+ and BSD', 'MIT AND', '(MIT', 'MIT)', 'MIT BSD-3-Clause', 'MIT WITH thanks', 'AND'].map(
    (field) => [field, undefined] as const,
  ),
] as const)('%j', (field, expression) => {
  expect(parseRpmLicence(field)?.expression).toBe(expression);
});

test('a reference of the distribution is one of the document', () => {
  expect(parseRpmLicence('LicenseRef-Fedora-Public-Domain AND MIT')?.custom).toEqual([
    { id: 'LicenseRef-Fedora-Public-Domain', name: 'Fedora-Public-Domain', text: undefined },
  ]);
});
