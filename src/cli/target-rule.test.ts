import { InvalidArgumentError } from 'commander';
import { expect, test } from 'vitest';

import { TargetRule } from '../disk/installer/target.ts';
import { parseTargetRule } from './target-rule.ts';

test.each([
  ['only', { by: 'only' }],
  ['/dev/disk/by-id/nvme-X_1', { by: 'path', path: '/dev/disk/by-id/nvme-X_1' }],
  ['serial=S1=2', { by: 'serial', serial: 'S1=2' }],
  ['size=100GB', { by: 'size', from: 100e9 }],
  ['size=1GiB..2GiB', { by: 'size', from: 2 ** 30, to: 2 ** 31 }],
])('%s', (text, rule) => {
  expect(parseTargetRule(text)).toEqual(rule);
  expect(TargetRule.parse(rule)).toEqual(rule);
});

test.each(['', 'sda', 'any', 'size=', 'size=2GiB..1GiB', 'size=1..2..3', 'size=big', 'serial='])(
  '%s is none',
  (text) => {
    expect(() => parseTargetRule(text)).toThrow(InvalidArgumentError);
  },
);
