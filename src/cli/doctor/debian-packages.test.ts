import { resolve } from 'node:path';
import { expect, test } from 'vitest';

import { loadNeededPackages, missingProofs, parseNeededPackages } from './debian-packages.ts';

test('reads groups, proofs and purposes, and skips comments', () => {
  expect(parseNeededPackages('# x\n\nproduct  attr  getfattr,setfattr   reads it all\n')).toEqual([
    { group: 'product', name: 'attr', proof: ['getfattr', 'setfattr'], purpose: 'reads it all' },
  ]);
  expect(() => parseNeededPackages('attr getfattr')).toThrow(SyntaxError);
});

test('the list that the product carries can be read, and names each package once in a group', async () => {
  const needed = await loadNeededPackages(resolve(import.meta.dirname, '../../..'));
  const names = needed.map(({ group, name }) => `${group} ${name}`);
  expect(names).toContain('product bubblewrap');
  expect(new Set(names).size).toBe(names.length);
});

test('tells what is not there', async () => {
  const proof = ['sh', 'no-such-program', '/etc/passwd', '/no/such/file'];
  expect(await missingProofs({ group: 'test', name: 'x', proof, purpose: 'x' })).toEqual([
    'no-such-program',
    '/no/such/file',
  ]);
});
