import { expect, test } from 'vitest';

import { packageAtWork, parseDpkgFailure } from './dpkg.ts';

/** Of dpkg 1.22, with the files named as the store names them. */
const OUTPUT = `Selecting previously unselected package htop.
(Reading database ... 100%
Preparing to unpack .../02b77c38.deb ...
Unpacking htop (3.4.1-5) ...
Setting up libc6:amd64 (2.41-12) ...
Processing triggers for man-db (2.13.1-1) ...
dpkg: error processing archive /run/ingot/packages/02/02b77c38.deb (--unpack):
 new htop package pre-installation script subprocess returned error exit status 3
dpkg: error processing package libc6:amd64 (--configure):
Errors were encountered while processing:
 /run/ingot/packages/02/02b77c38.deb`;

test('the package at work is the one that a line begins with', () => {
  expect(OUTPUT.split('\n').flatMap((line) => packageAtWork(line) ?? [])).toEqual([
    '02b77c38.deb',
    'htop',
    'libc6:amd64',
    'man-db',
  ]);
});

test('failures are named once each', () => {
  expect(parseDpkgFailure(OUTPUT)).toEqual(['/run/ingot/packages/02/02b77c38.deb', 'libc6:amd64']);
});
