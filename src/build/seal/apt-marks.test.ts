import { expect, it } from 'vitest';

import { extendedStates } from './apt-marks.ts';

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
