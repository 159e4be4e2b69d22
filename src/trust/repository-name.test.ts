import { expect, test } from 'vitest';

import { isSameRepository } from './repository-name.ts';

test.each([
  ['index.docker.io/acme/node', 'docker.io/acme/node', true],
  ['docker.io/acme/node', 'registry-1.docker.io/acme/node', true],
  ['docker.io/acme/node', 'docker.io/acme/node', true],
  ['index.docker.io/acme/node', 'docker.io/acme/other', false],
  ['index.docker.io.evil.example/acme/node', 'docker.io/acme/node', false],
  ['evil.example/index.docker.io/acme/node', 'evil.example/docker.io/acme/node', false],
  ['r.example:5000/node', 'r.example/node', false],
  ['R.example/node', 'r.example/node', false],
])('%s and %s: %s', (one, other, isSame) => {
  expect(isSameRepository(one, other)).toBe(isSame);
  expect(isSameRepository(other, one)).toBe(isSame);
});
