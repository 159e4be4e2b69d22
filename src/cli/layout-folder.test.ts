import { InvalidArgumentError } from 'commander';
import { expect, test } from 'vitest';

import { parseLayoutFolder } from './layout-folder.ts';

test.each([
  ['build/node', 'build/node'],
  ['oci:build/node', 'build/node'],
  ['oci:/srv/für alle', '/srv/für alle'],
])('%s', (text, folder) => {
  expect(parseLayoutFolder(text)).toBe(folder);
});

test.each(['', 'oci:', 'oci:build/node:1.0', 'build:node'])('%j is refused', (text) => {
  expect(() => parseLayoutFolder(text)).toThrow(InvalidArgumentError);
});
