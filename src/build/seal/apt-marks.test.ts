import { expect, it } from 'vitest';

import { extendedStates, mergedStates } from './apt-marks.ts';

it('has a stanza for each package, with an empty line between', () => {
  expect(
    extendedStates([
      { name: 'a', architecture: 'amd64' },
      { name: 'b', architecture: 'arm64' },
    ]),
  ).toBe(
    'Package: a\nArchitecture: amd64\nAuto-Installed: 1\n\nPackage: b\nArchitecture: arm64\nAuto-Installed: 1\n',
  );
  expect(extendedStates([])).toBe('');
});

it('adds to the marks of a base what is new, and takes away those of what is asked for', () => {
  const auto = (name: string): { name: string; architecture: string } => ({ name, architecture: 'amd64' });
  const own = extendedStates([auto('kept'), auto('wanted-now')]);
  const status = ['kept', 'wanted-now', 'manual', 'upgraded'].map((name) => `Package: ${name}\n`).join('\n');
  const input = { automatic: [auto('upgraded'), auto('fresh')], manual: ['wanted-now'] };
  expect(mergedStates(own, status, input)).toBe(extendedStates([auto('fresh'), auto('kept')]));
  expect(mergedStates('', '', {})).toBe('');
});
